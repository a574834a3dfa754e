import type { BudgetAlert } from '../../shared/api/alerts.ts'

/** A webhook that has not answered by then counts as one that failed. */
const webhookTimeoutMs = 10_000
const maxProblemLength = 200

export interface Webhook {
  readonly url: string
  /** `whsec_` and 32 bytes in base64. */
  readonly secret: string
}

export interface WebhookEvent {
  readonly id: string
  readonly body: string
}

/** An alert as its webhook is told of it: the same bytes with each attempt. */
export const eventOf = (
  tenant: string,
  { at, budget, id, limit, percent, period, spent }: BudgetAlert,
): WebhookEvent => ({
  id,
  body: JSON.stringify({
    id,
    object: 'event',
    type: 'budget.threshold_reached',
    created_at: Math.floor(at / 1_000),
    data: { tenant, budget, period, percent, spent, limit },
  }),
})

/** The headers of Standard Webhooks (https://www.standardwebhooks.com), by which OpenAI's clients verify as well. */
async function signedHeaders(
  { body, id }: WebhookEvent,
  { now, secret }: { readonly secret: string; readonly now: number },
): Promise<Record<string, string>> {
  const timestamp = String(Math.floor(now / 1_000))
  const bytes = Uint8Array.from(atob(secret.slice('whsec_'.length)), (letter) => letter.charCodeAt(0))
  const key = await crypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
  const signature = await crypto.subtle.sign(
    'HMAC',
    key,
    new TextEncoder().encode(`${id}.${timestamp}.${body}`),
  )
  return {
    'content-type': 'application/json',
    'user-agent': 'Quartet-Webhooks',
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': `v1,${btoa(String.fromCharCode(...new Uint8Array(signature)))}`,
  }
}

/**
 * Calls a webhook once. Undefined when it took the event (any 2xx); else why not, in words. A redirect is not followed,
 * and nothing of the answer but its status is read.
 */
export async function deliver(
  event: WebhookEvent,
  {
    now = Date.now(),
    timeoutMs = webhookTimeoutMs,
    webhook,
  }: {
    readonly webhook: Webhook
    readonly now?: number
    readonly timeoutMs?: number
  },
): Promise<string | undefined> {
  const late = AbortSignal.timeout(timeoutMs)
  try {
    const response = await fetch(webhook.url, {
      method: 'POST',
      headers: await signedHeaders(event, { secret: webhook.secret, now }),
      body: event.body,
      redirect: 'manual',
      signal: late,
    })
    await response.body?.cancel().catch(() => undefined)
    if (response.status >= 200 && response.status < 300) return undefined
    if (response.status >= 300 && response.status < 400)
      return `it answered ${response.status}; redirects are not followed, give the last URL`
    return `it answered ${response.status}`
  } catch (thrown) {
    if (late.aborted) return `it did not answer within ${timeoutMs / 1_000} s`
    return `it cannot be reached: ${String(thrown).slice(0, maxProblemLength)}`
  }
}

const secretOf = (bytes: ArrayBuffer): string =>
  `whsec_${btoa(String.fromCharCode(...new Uint8Array(bytes)))}`

/** The secret of a webhook, made of the edge's own secret: it is stored nowhere. `nonce` is another one with each setting. */
export async function webhookSecret(
  edgeKey: Uint8Array,
  { nonce, tenant }: { readonly tenant: string; readonly nonce: string },
): Promise<string> {
  const key = await crypto.subtle.importKey(
    'raw',
    Uint8Array.from(edgeKey),
    { name: 'HMAC', hash: 'SHA-256' },
    false,
    ['sign'],
  )
  return secretOf(
    await crypto.subtle.sign('HMAC', key, new TextEncoder().encode(`webhook\n${tenant}\n${nonce}`)),
  )
}
