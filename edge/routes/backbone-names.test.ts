import { beforeAll, expect, test } from 'vitest'
import { BackboneSlug } from '../../shared/ids.ts'
import { makeAdapter } from '../../test/edge/adapter.ts'
import { errorOf, stubs, TestEdge, workerBackbone } from '../../test/edge/edge.ts'
import { tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()

beforeAll(() => edge.seedBackbone())

test('an alias whose name a backbone takes gets no requests under any name of its sides, and begins nothing', async () => {
  const tenant = await edge.seedTenant()
  await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { shadowTokensPerDay: 1_000 } })
  const tail = 1 + 'assistant\n'.length
  const publish = async (seed: number) => {
    const { digest, file } = await makeAdapter({ backbone: workerBackbone, seed, tail })
    await edge.own(tenant, 'PUT', `/adapters/${digest}`, file)
    return digest
  }
  const [own, other] = [await publish(840), await publish(841)]
  await stubs.behave({ tokens: [97] })
  await edge.own(tenant, 'PUT', '/aliases/taken', { digest: own })
  await edge.own(tenant, 'PUT', '/aliases/taken/canary', { digest: other, percent: 50 })
  const backbone = { ...workerBackbone, slug: BackboneSlug.parse('taken') }
  await edge.admin('PUT', '/backbones/taken', { backbone, tokenizer: tinyTokenizer })
  expect((await edge.chat(tenant, { model: 'taken' })).headers.get('x-quartet-adapter')).toBe('none')
  for (const model of ['taken@stable', 'taken@canary', 'taken@stable+tone']) {
    const refused = await edge.chat(tenant, { model })
    expect(await errorOf(refused), model).toMatchObject({ code: 'model_not_found', param: 'model' })
  }
  const shadow = { digest: other, percent: 50 }
  expect((await edge.own(tenant, 'PUT', '/aliases/taken/shadow', shadow)).status).toBe(409)
  expect((await edge.own(tenant, 'DELETE', '/aliases/taken/canary')).status).toBe(200)
  expect((await edge.own(tenant, 'DELETE', '/aliases/taken')).status).toBe(204)
})
