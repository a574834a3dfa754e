import { z } from 'zod'

/** A budget's soft limits: at 50, 80 and 100 % of it the tenant's webhook is told, once in each day or month. */
export const alertPercents = [50, 80, 100] as const

export const BudgetName = z.enum(['tokensPerDay', 'tokensPerMonth', 'trainingTokensPerMonth'])
export type BudgetName = z.infer<typeof BudgetName>

export const BudgetAlert = z.object({
  id: z.string(),
  /** The policy's limit that is so far spent. */
  budget: BudgetName,
  /** UTC day (`2026-11-24`) or month (`2026-11`). */
  period: z.string(),
  percent: z.int(),
  spent: z.int(),
  limit: z.int(),
  /** Milliseconds since 1970. */
  at: z.int(),
  /** `unsent`: there was no webhook then. `pending`: it is told, or told again. */
  delivery: z.enum(['unsent', 'pending', 'delivered', 'failed']),
  /** Calls of the webhook so far. */
  attempts: z.int(),
  /** Why the last one failed. */
  problem: z.string().nullable(),
})
export type BudgetAlert = z.infer<typeof BudgetAlert>

const maxWebhookUrlLength = 2_048

/** `PUT /admin/v1/tenants/{id}/webhook`. */
export const PutWebhookRequest = z.strictObject({ url: z.string().min(1).max(maxWebhookUrlLength) })

const Webhook = z.object({ url: z.string() })

/** The secret that signs is another one with each call, and is shown only here. */
export const PutWebhookResponse = Webhook.extend({ secret: z.string() })
export type PutWebhookResponse = z.infer<typeof PutWebhookResponse>

/** `GET /admin/v1/tenants/{id}/webhook`. */
export const WebhookResponse = z.object({ webhook: Webhook.nullable() })
export type WebhookResponse = z.infer<typeof WebhookResponse>
