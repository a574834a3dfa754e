import { z } from 'zod'

export const EvalOptions = z.object({
  data: z.string().min(1),
  choices: z.string().min(1).optional(),
  prompts: z.enum(['chat', 'raw']),
  maxTokens: z.int().optional(),
  json: z.string().min(1).optional(),
  answers: z.string().min(1).optional(),
  seed: z.int(),
})
export type EvalOptions = z.infer<typeof EvalOptions>
