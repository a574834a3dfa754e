import { z } from 'zod'

export const everyScope = ['inference', 'deploy', 'train', 'read-only'] as const

/**
 * The rights of a tenant's key. `inference`: ask models, and batches with their files. `deploy`: adapters and aliases.
 * `train`: files of examples and fine-tuning jobs. `read-only`: look at all of it and change nothing.
 */
export const Scope = z.enum(everyScope, {
  error: 'must be inference, deploy, train or read-only',
})
export type Scope = z.infer<typeof Scope>

/** The scopes of a key. A key with null may do everything. */
export const Scopes = z
  .array(Scope)
  .min(1, 'is empty; name at least one scope, or null for a key that may do everything')
  .refine((scopes) => new Set(scopes).size === scopes.length, { error: 'names a scope twice' })
  .nullable()
export type Scopes = z.infer<typeof Scopes>
