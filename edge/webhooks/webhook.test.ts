import { beforeAll, beforeEach, expect, test } from 'vitest'
import { PutWebhookResponse } from '../../shared/api/alerts.ts'
import { BudgetReport } from '../../shared/api/usage.ts'
import { stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'

// Port 9 of this machine: whatever is told there is refused at once.
const edge = new TestEdge({ QUARTET_PRIVATE_WEBHOOKS: 'true' })
let tenant: TestTenant

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
  await stubs.behave({ tokens: [97] })
})

const path = () => `/tenants/${tenant.id}/webhook`
const report = async () => BudgetReport.parse(await (await edge.own(tenant, 'GET', '/budget')).json())

test('a budget that is spent to 50, 80 and 100 % is told of, and the tenant sees it and what the webhook answered', async () => {
  const put = await edge.admin('PUT', path(), { url: 'http://127.0.0.1:9/hook' })
  const { secret } = PutWebhookResponse.parse(await put.json())
  expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
  const spent = async () => (await report()).spent.day
  await edge.chat(tenant, { max_tokens: 4 })
  await expect.poll(spent).toBeGreaterThan(0)
  await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { tokensPerDay: 2 * (await spent()) } })
  expect((await report()).alerts.map(({ percent }) => percent)).toEqual([50])
  // The rest of the budget suffices for no request, so the budget counts as spent.
  await expect
    .poll(async () => {
      await edge.chat(tenant, { max_tokens: 4 })
      return (await report()).alerts.map(({ budget, percent }) => `${budget} ${percent}`)
    })
    .toEqual(['tokensPerDay 100', 'tokensPerDay 80', 'tokensPerDay 50'])
  await expect.poll(async () => (await report()).alerts[2]?.problem).toMatch(/cannot be reached|answered 5/)
})

test('a webhook is set, shown without its secret, changed and removed; each setting has another secret', async () => {
  expect(await (await edge.admin('GET', path())).json()).toEqual({ webhook: null })
  const set = async () =>
    PutWebhookResponse.parse(await (await edge.admin('PUT', path(), { url: 'https://acme.com/hook' })).json())
  const [one, two] = [await set(), await set()]
  expect(one.secret).not.toBe(two.secret)
  expect(await (await edge.admin('GET', path())).json()).toEqual({
    webhook: { url: 'https://acme.com/hook' },
  })
  expect((await edge.admin('DELETE', path())).status).toBe(204)
  expect(await (await edge.admin('GET', path())).json()).toEqual({ webhook: null })
  expect((await edge.admin('PUT', '/tenants/nobody-here/webhook', { url: 'https://acme.com/' })).status).toBe(
    404,
  )
})

test('a webhook that leads into the operator’s network is refused where operators do not allow it', async () => {
  const strict = new TestEdge()
  const refused = await strict.admin('PUT', path(), { url: 'http://169.254.169.254/' })
  expect(refused.status).toBe(400)
  expect(await refused.json()).toMatchObject({ error: { code: 'invalid_request', param: 'url' } })
})
