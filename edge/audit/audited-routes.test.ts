import { env } from 'cloudflare:workers'
import { beforeAll, expect, test } from 'vitest'
import { AuditPage } from '../../shared/api/audit.ts'
import { TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { app } from '../app.ts'

/** These routes change nothing of the control plane: metered work, its answers, and messages of nodes and trainers. */
const exempt = [
  'POST /v1/chat/completions',
  'POST /v1/completions',
  'POST /v1/responses',
  'DELETE /v1/responses/:response',
  'POST /v1/embeddings',
  'POST /v1/messages',
  'POST /v1/messages/count_tokens',
  'POST /tokenize',
  'POST /detokenize',
  'POST /fleet/v1/heartbeat',
  'POST /fleet/v1/training/claim',
  'PUT /fleet/v1/training/:id/:job/adapter',
  'PUT /fleet/v1/training/:id/:job/checkpoint',
  'POST /fleet/v1/training/:id/:job/report',
]

const changing = [...new Set(app.routes.map(({ method, path }) => `${method} ${path}`))].filter(
  (route) => !/^(GET|HEAD|OPTIONS|ALL) /.test(route) && !exempt.includes(route),
)
const edge = new TestEdge()
let tenant: TestTenant

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
})

test('there are routes that change something, and the exempt ones are routes', () => {
  expect(changing.length).toBeGreaterThan(20)
  const routes = app.routes.map(({ method, path }) => `${method} ${path}`)
  for (const route of exempt) expect(routes).toContain(route)
})

test.each(changing)('%s is written into the audit log', async (route) => {
  const [method = '', path = ''] = route.split(' ')
  const params: Record<string, string> = {
    id: tenant.id,
    keyId: 'key_000000000000',
    digest: tenant.adapter.digest,
    alias: 'tone',
    slug: 'tiny',
    file: `file-${'0'.repeat(24)}`,
    batch: `batch_${'0'.repeat(24)}`,
    job: `ftjob-${'0'.repeat(24)}`,
  }
  const answer = await edge.fetch(
    path.replaceAll(/:([A-Za-z]+)(?:\{[^}]*\})?/g, (_, name: string) => params[name] ?? `no-${name}`),
    {
      method,
      headers: { authorization: `Bearer ${path.startsWith('/v1/') ? tenant.key : env.QUARTET_ADMIN_KEY}` },
    },
  )
  const log = AuditPage.parse(await (await edge.admin('GET', '/audit?limit=5')).json())
  const requestId = answer.headers.get('x-request-id')
  expect(log.data.filter((entry) => entry.requestId === requestId)).toHaveLength(1)
  // Deleting the tenant ends its key.
  if (route === 'DELETE /admin/v1/tenants/:id') tenant = await edge.seedTenant()
})
