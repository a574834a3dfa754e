import { z } from 'zod'

export const Model = z.object({
  id: z.string(),
  object: z.literal('model'),
  /** Seconds since 1970. */
  created: z.int(),
  owned_by: z.string(),
  /** The adapter behind the name; absent for an untuned backbone. */
  adapter: z.string().optional(),
  backbone: z.string(),
})
export type Model = z.infer<typeof Model>

/** `GET /v1/models`. */
export const ModelList = z.object({ object: z.literal('list'), data: z.array(Model) })
export type ModelList = z.infer<typeof ModelList>
