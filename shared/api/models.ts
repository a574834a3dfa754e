import { z } from 'zod'
import { Page, pageQuery } from './paging.ts'

export const Model = z.object({
  id: z.string(),
  object: z.literal('model'),
  /** Seconds since 1970. */
  created: z.int(),
  owned_by: z.string(),
  /** The adapter behind the name; absent for an untuned backbone. */
  adapter: z.string().optional(),
  /** The adapters of a stack whose rows stand behind those of `adapter`, in order. */
  behind: z.array(z.string()).optional(),
  backbone: z.string(),
})
export type Model = z.infer<typeof Model>

/** `GET /v1/models`. OpenAI's client does not ask for pages, so one page holds the models of nearly every tenant. */
export const ModelListQuery = z.strictObject(pageQuery({ usual: 1_000, most: 1_000 }))
export const ModelList = Page(Model)
export type ModelList = z.infer<typeof ModelList>
