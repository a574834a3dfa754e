import { env } from 'cloudflare:workers'
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { canBeGuessed } from './admin.ts'
import { mintApiKey } from './api-key.ts'
import { clientAddressOf } from './client-address.ts'
import { GuessThrottle } from './guess-throttle.ts'

let edge: TestEdge
let tenant: TestTenant

beforeAll(async () => {
  await new TestEdge().seedBackbone()
  tenant = await new TestEdge().seedTenant()
})
beforeEach(() => {
  edge = new TestEdge()
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const ask = (key: string, { address, path = '/v1/models' }: { address: string; path?: string }) =>
  edge.fetch(path, { headers: { authorization: `Bearer ${key}`, 'cf-connecting-ip': address }, cf: {} })

async function guess(times: number, address: string): Promise<number[]> {
  const statuses: number[] = []
  for (let at = 0; at < times; at++) statuses.push((await ask(mintApiKey(), { address })).status)
  return statuses
}

describe('whoever guesses keys', () => {
  test('is told to wait after twenty wrong ones, and then nothing is looked up for it', async () => {
    expect(new Set(await guess(20, '192.0.2.1'))).toEqual(new Set([401]))
    const look = vi.spyOn(env.STORE, 'get')
    const refused = await ask(mintApiKey(), { address: '192.0.2.1' })
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await refused.json()).toMatchObject({ error: { code: 'rate_limited' } })
    expect(look).not.toHaveBeenCalled()
  })

  test('holds back nobody at another address', async () => {
    await guess(21, '192.0.2.2')
    expect((await ask(tenant.key, { address: '192.0.2.3' })).status).toBe(200)
  })

  test('holds back no key that is in use at the same address', async () => {
    expect((await ask(tenant.key, { address: '192.0.2.4' })).status).toBe(200)
    await guess(21, '192.0.2.4')
    expect((await ask(tenant.key, { address: '192.0.2.4' })).status).toBe(200)
  })

  test.each([
    ['one more guess', '/v1/models', mintApiKey(), 401],
    ['the right admin key', '/admin/v1/tenants', env.QUARTET_ADMIN_KEY, 200],
  ])('may send %s after as long as Retry-After says', async (_what, path, right, status) => {
    const address = `192.0.2.${50 + path.length}`
    vi.useFakeTimers({ toFake: ['Date'] })
    for (let at = 0; at < 20; at++) await ask(mintApiKey(), { address, path })
    const refused = await ask(right, { address, path })
    expect(refused.status).toBe(429)
    vi.setSystemTime(Date.now() + 1_000 * Number(refused.headers.get('retry-after')))
    expect((await ask(right, { address, path })).status).toBe(status)
  })

  test('gains nothing by changing address within its IPv6 network, or by keys that are malformed', async () => {
    const statuses: number[] = []
    for (let at = 1; at <= 21; at++)
      statuses.push((await ask('qk_nonsense', { address: `2001:db8:1:2::${at}` })).status)
    expect(statuses.slice(19)).toEqual([401, 429])
    expect((await ask(mintApiKey(), { address: '2001:db8:1:3::1' })).status).toBe(401)
  })

  test('is held back from the admin API by itself: the right key no longer opens it', async () => {
    const path = '/admin/v1/tenants'
    for (let at = 0; at < 20; at++)
      expect((await ask(`wrong-admin-key-${at}`, { address: '192.0.2.6', path })).status).toBe(401)
    expect((await ask(env.QUARTET_ADMIN_KEY, { address: '192.0.2.6', path })).status).toBe(429)
    expect((await ask(env.QUARTET_ADMIN_KEY, { address: '192.0.2.7', path })).status).toBe(200)
  })

  test('tries no more admin keys at the same time than one after another', async () => {
    const address = '192.0.2.9'
    const path = '/admin/v1/tenants'
    const wrong = Array.from({ length: 60 }, (_, at) => `wrong-admin-key-${at}`)
    const answers = await Promise.all(
      [...wrong, env.QUARTET_ADMIN_KEY].map((key) => ask(key, { address, path })),
    )
    const statuses = answers.map(({ status }) => status)
    expect(statuses.filter((status) => status === 401)).toHaveLength(20)
    expect(statuses.at(-1)).toBe(429)
  })

  test('learns nothing from how near a guess was: each well-formed one costs one look-up, of a hash', async () => {
    await ask(tenant.key, { address: '192.0.2.8' })
    const look = vi.spyOn(env.STORE, 'get')
    await ask(mintApiKey(), { address: '192.0.2.8' })
    expect(look.mock.calls.map(([key]) => key)).toEqual([expect.stringMatching(/^key:[0-9a-f]{64}$/)])
  })
})

describe('without Cloudflare in front', () => {
  const from = (address: string, key: string, { path = '/v1/models', isolate = edge } = {}) =>
    isolate.fetch(path, {
      headers: {
        authorization: `Bearer ${key}`,
        'cf-connecting-ip': address,
        'x-client': `192.0.2.99, ${address}`,
      },
    })

  test('an address that the client invents makes no new guesses, and a right key comes through all the same', async () => {
    const statuses: number[] = []
    for (let at = 0; at < 25; at++) statuses.push((await from(`192.0.2.${at}`, mintApiKey())).status)
    expect(statuses.slice(0, 20)).toEqual(Array.from({ length: 20 }, () => 401))
    expect(statuses.slice(21)).toEqual([429, 429, 429, 429])
    expect((await from('192.0.2.200', tenant.key)).status).toBe(200)
  })

  test('a proxy’s own header tells clients apart where it is named, the last of a list', async () => {
    const isolate = new TestEdge({ QUARTET_CLIENT_ADDRESS_HEADER: 'x-client' })
    for (let at = 0; at < 21; at++) await from('192.0.2.1', mintApiKey(), { isolate })
    expect((await from('192.0.2.1', mintApiKey(), { isolate })).status).toBe(429)
    expect((await from('192.0.2.2', mintApiKey(), { isolate })).status).toBe(401)
  })

  test.each([
    ['a long admin key', '4c1f09a7be52d38866f0e1b2a97c5d430f8e6b1a'],
    ['a short admin key', env.QUARTET_ADMIN_KEY],
    ['the shortest admin key', '4c1f09a7be52d388'],
  ])('a flood of wrong keys does not lock out %s', async (_name, adminKey) => {
    const path = '/admin/v1/tenants'
    const isolate = new TestEdge({ QUARTET_ADMIN_KEY: adminKey })
    const guessed: number[] = []
    for (let at = 0; at < 40; at++)
      guessed.push((await from('192.0.2.1', `wrong-admin-key-${at}`, { path, isolate })).status)
    expect(guessed.at(-1)).toBe(429)
    expect((await from('192.0.2.1', adminKey, { path, isolate })).status).toBe(200)
  })

  test('an operator behind a named proxy has an address of its own, so that a short key stays guarded from others’', async () => {
    const isolate = new TestEdge({ QUARTET_CLIENT_ADDRESS_HEADER: 'x-client' })
    const path = '/admin/v1/tenants'
    for (let at = 0; at < 21; at++) await from('192.0.2.1', `wrong-admin-key-${at}`, { path, isolate })
    expect((await from('192.0.2.1', env.QUARTET_ADMIN_KEY, { path, isolate })).status).toBe(429)
    expect((await from('192.0.2.2', env.QUARTET_ADMIN_KEY, { path, isolate })).status).toBe(200)
  })

  test('an admin key that repeats itself opens nothing', async () => {
    const adminKey = 'a'.repeat(64)
    const isolate = new TestEdge({ QUARTET_ADMIN_KEY: adminKey })
    expect(canBeGuessed(adminKey)).toBe(true)
    expect((await from('192.0.2.1', adminKey, { path: '/admin/v1/tenants', isolate })).status).toBe(500)
  })
})

test.each([
  ['192.0.2.1', '192.0.2.1'],
  ['192.0.2.1:4711', '192.0.2.1'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['[::ffff:192.0.2.1]:4711', '192.0.2.1'],
  ['203.0.113.9, 192.0.2.1:4711', '192.0.2.1'],
  ['[2001:db8::1]:4711', '2001:db8::1'],
  ['2001:db8::1', '2001:db8::1'],
])('a client has one address however its proxy writes it: %s', (written, address) => {
  const request = new Request('http://edge', { headers: { 'x-client': written } })
  expect(clientAddressOf('x-client')(request)).toEqual({ address, isShared: false })
})

test('a flood of addresses takes no more memory, and holds back hardly anyone else', () => {
  const throttle = new GuessThrottle()
  for (let address = 0; address < 2_000; address++)
    for (let guess = 0; guess < 25; guess++) throttle.failed(`guesser-${address}`, 'tenant')
  const heldBack = Array.from({ length: 1_000 }, (_, at) => throttle.wait(`client-${at}`, 'tenant')).filter(
    (wait) => wait !== undefined,
  )
  expect(heldBack.length).toBeLessThan(250)
})
