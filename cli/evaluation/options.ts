import { z } from 'zod'
import { prefillWeights } from '../../model/runtime/prefill-weights.ts'
import { metricNames } from '../../training/evaluation/metrics.ts'

export const EvalOptions = z.object({
  data: z.string().min(1, 'is empty'),
  choices: z.string().min(1, 'is empty').optional(),
  prompts: z.enum(['chat', 'raw']),
  maxTokens: z.int().optional(),
  threads: z.int().max(1024, 'must be at most 1024').optional(),
  prefillWeights: z.enum(prefillWeights).optional(),
  metrics: z.array(z.enum(metricNames)).min(1).optional(),
  limit: z.int().optional(),
  json: z.string().min(1, 'is empty').optional(),
  labels: z.string().min(1, 'is empty').optional(),
  answers: z.string().min(1, 'is empty').optional(),
  seed: z.int(),
})
export type EvalOptions = z.infer<typeof EvalOptions>
