import type { Context } from 'hono'
import { PutWebhookRequest, type PutWebhookResponse, type WebhookResponse } from '../../shared/api/alerts.ts'
import { parseRequest } from '../../shared/api/parse.ts'
import { unwrap } from '../directory/outcome.ts'
import { readJson } from '../http/json-body.ts'
import type { ControlApp } from '../request-context.ts'
import { checkWebhookUrl } from '../webhooks/webhook-url.ts'

type C = Context<ControlApp>

/** The budget of a tenant that there is. */
async function budgetOf(c: C) {
  const { budget, directory } = c.get('platform')
  unwrap(await directory(c.get('tenant')).summary())
  return budget(c.get('tenant'))
}

/** `GET /admin/v1/tenants/{id}/webhook`. */
export async function getWebhook(c: C): Promise<Response> {
  const url = await (await budgetOf(c)).webhook()
  return c.json({ webhook: url === undefined ? null : { url } } satisfies WebhookResponse)
}

/** `PUT /admin/v1/tenants/{id}/webhook`. The secret leaves once. */
export async function putWebhook(c: C): Promise<Response> {
  const asked = parseRequest(PutWebhookRequest, await readJson(c.req.raw))
  const { allowPrivateWebhooks } = c.get('platform')
  const url = checkWebhookUrl(asked.url, { allowPrivate: allowPrivateWebhooks }).href
  const secret = await (await budgetOf(c)).setWebhook(url, c.get('tenant'))
  return c.json({ url, secret } satisfies PutWebhookResponse)
}

/** `DELETE /admin/v1/tenants/{id}/webhook`. */
export async function deleteWebhook(c: C): Promise<Response> {
  await (await budgetOf(c)).removeWebhook()
  return c.body(null, 204)
}
