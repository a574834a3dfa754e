import { env } from 'cloudflare:workers'
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { AdapterList, PublishResponse } from '../../shared/api/deployments.ts'
import type { EdgeBackbone } from '../../shared/backbone.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { AdapterDigest, BackboneDigest, TenantId } from '../../shared/ids.ts'
import { makeAdapter, makeLargeAdapter, type TestAdapter } from '../../test/edge/adapter.ts'
import { stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { KvStore } from '../store/kv-store.ts'
import { partBytes } from '../store/stored-adapter.ts'

const edge = new TestEdge()
let tenant: TestTenant
let small: TestAdapter
let medium: TestAdapter
let large: TestAdapter

beforeAll(async () => {
  await edge.seedBackbone()
  medium = await makeAdapter({ backbone: workerBackbone, seed: 902, rows: 512 })
  large = await makeLargeAdapter({ backbone: workerBackbone, bytes: 2 * partBytes + 12_345 })
})
beforeEach(async () => {
  tenant = await edge.seedTenant()
  small = await makeAdapter({ backbone: workerBackbone, seed: 900 })
  await stubs.behave({ tokens: [97] })
})
afterEach(() => {
  vi.restoreAllMocks()
  vi.useRealTimers()
})

/** Uploads as a client over the network does: with a length, in chunks of `chunk` bytes. */
function upload(
  file: Uint8Array<ArrayBuffer>,
  {
    beforeChunk = async () => undefined,
    chunk = 65_536,
    cutAt,
    headers = {},
    length = file.length,
    query = '',
    isolate = edge,
  }: {
    /** Awaited before the bytes from `at` on are sent. */
    beforeChunk?: (at: number) => Promise<unknown>
    chunk?: number
    cutAt?: number
    headers?: Record<string, string>
    length?: number
    query?: string
    isolate?: TestEdge
  } = {},
): Promise<Response> {
  let at = 0
  const body = new ReadableStream(
    {
      type: 'bytes',
      async pull(controller) {
        await beforeChunk(at)
        if (cutAt !== undefined && at >= cutAt) return controller.error(new Error('the client went away'))
        if (at >= file.length) return controller.close()
        controller.enqueue(file.slice(at, at + chunk))
        at += chunk
      },
    },
    { highWaterMark: 0 },
  )
  return isolate.fetch(`/v1/adapters${query}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${tenant.key}`, 'content-length': String(length), ...headers },
    body,
  })
}

const adapters = async () =>
  AdapterList.parse(await (await edge.own(tenant, 'GET', '/adapters')).json()).data.map(
    ({ digest }) => digest,
  )
const stored = async () => {
  const lists = await Promise.all(
    [`adapter:${tenant.id}:`, `adapter-part:${tenant.id}:`].map((prefix) => env.STORE.list({ prefix })),
  )
  return lists.flatMap(({ keys }) => keys.map(({ name }) => name))
}
async function policy(adapterBytes: number): Promise<void> {
  const changed = await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { adapterBytes } })
  expect(changed.status, await changed.text()).toBe(200)
}

async function expectRefusal(response: Response, status: number, code: string, message = /./) {
  expect(await response.json()).toMatchObject({ error: { code, message: expect.stringMatching(message) } })
  expect(response.status).toBe(status)
}

describe('an upload', () => {
  test('by the tenant’s own key is stored under its digest, and deployed when an alias is named', async () => {
    const answer = await upload(small.file, { query: '?alias=fresh', chunk: 7 })
    expect(answer.status).toBe(201)
    expect(PublishResponse.parse(await answer.json())).toMatchObject({
      digest: small.digest,
      kind: 'static',
      bytes: small.file.length,
      alias: { alias: 'fresh', version: 1 },
    })
    expect((await edge.chat(tenant, { model: 'fresh' })).headers.get('x-quartet-adapter')).toBe(small.digest)
  })

  test('twice is stored once, and answered the same', async () => {
    const [first, second] = await Promise.all([upload(small.file), upload(small.file)])
    expect([first.status, second.status]).toEqual([201, 201])
    expect(await first.json()).toEqual(await second.json())
    expect(await adapters()).toEqual([tenant.adapter.digest, small.digest])
  })

  test('with the Idempotency-Key of another file of the same length is its own file', async () => {
    const other = await makeAdapter({ backbone: workerBackbone, seed: 901 })
    const headers = { 'idempotency-key': 'release-7' }
    const answers = [await upload(small.file, { headers }), await upload(other.file, { headers })]
    const digests = await Promise.all(
      answers.map(async (answer) => PublishResponse.parse(await answer.json()).digest),
    )
    expect(digests).toEqual([small.digest, other.digest])
  })

  test('repeated with its alias makes no new version', async () => {
    const versions = [
      await upload(small.file, { query: '?alias=fresh' }),
      await upload(small.file, { query: '?alias=fresh' }),
    ].map(async (answer) => PublishResponse.parse(await answer.json()).alias?.version)
    expect(await Promise.all(versions)).toEqual([1, 1])
  })

  test('larger than one KV value is stored in parts, deduplicated, and pushed to a node whole', async () => {
    const answers = await Promise.all([upload(large.file), upload(large.file)])
    expect(answers.map(({ status }) => status)).toEqual([201, 201])
    expect(await adapters()).toEqual([tenant.adapter.digest, large.digest])
    expect((await stored()).filter((key) => key.startsWith('adapter-part:'))).toHaveLength(3)
    const name = { tenant: TenantId.parse(tenant.id), digest: AdapterDigest.parse(large.digest) }
    const content = await new Response(await new KvStore(env.STORE).adapter(name)).bytes()
    expect(await sha256Hex(new Uint8Array(content))).toBe(large.digest)
    await edge.own(tenant, 'PUT', '/aliases/tone', { digest: large.digest })
    await stubs.behave({ tokens: [97], adapterMissing: true })
    expect((await edge.chat(tenant)).status).toBe(200)
    const pushed = (await stubs.calls()).find(({ kind }) => kind === 'put-adapter')
    expect(pushed?.body).toBe(large.file.length)
    expect((await edge.own(tenant, 'PUT', '/aliases/tone', { digest: tenant.adapter.digest })).status).toBe(
      200,
    )
    expect((await edge.own(tenant, 'DELETE', `/adapters/${large.digest}`)).status).toBe(204)
    expect(await stored()).toEqual([`adapter:${tenant.id}:${tenant.adapter.digest}`])
  })

  test.each([
    ['a small one', () => small, (file: Uint8Array) => file.length - 10],
    ['a large one, after its first part was written', () => large, () => partBytes + 1_000_000],
  ])(
    '%s that is cut in the middle is never seen, takes no room and leaves nothing behind',
    async (_name, adapter, cut) => {
      await policy(large.file.length + 10_000)
      const { digest, file } = adapter()
      const isolate = new TestEdge({ QUARTET_LOG_LEVEL: 'info' })
      const printed = vi.spyOn(console, 'log').mockImplementation(() => undefined)
      await expectRefusal(await upload(file, { cutAt: cut(file), isolate }), 499, 'client_closed_request')
      const logged = printed.mock.calls.map(([line]) => JSON.parse(String(line)))
      expect(logged).toEqual([
        expect.objectContaining({ level: 'info', event: 'request', code: 'client_closed_request' }),
      ])
      expect(await adapters()).toEqual([tenant.adapter.digest])
      expect((await edge.own(tenant, 'PUT', '/aliases/cut', { digest })).status).toBe(404)
      expect(await stored()).toEqual([`adapter:${tenant.id}:${tenant.adapter.digest}`])
      expect((await upload(file)).status).toBe(201)
      expect(await adapters()).toContain(digest)
    },
  )

  test('without a Content-Length is refused with the remedy, before it is read', async () => {
    const beforeChunk = vi.fn(async () => undefined)
    const headers = { 'content-length': '' }
    await expectRefusal(
      await upload(small.file, { headers, beforeChunk }),
      411,
      'length_required',
      /send it from a file/,
    )
    expect(beforeChunk).not.toHaveBeenCalled()
  })

  describe.each([
    ['of one part', () => medium],
    ['of several', () => large],
  ])('%s', (_name, adapter) => {
    /** Lets so much time pass for the upload before each chunk but the first. */
    const arrivingEvery = (ms: number) => ({
      chunk: Math.ceil(adapter().file.length / 40),
      beforeChunk: async (at: number) => {
        if (at > 0) await vi.advanceTimersByTimeAsync(ms)
      },
    })
    beforeEach(() => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
    })

    test('of which nothing arrives for 20 seconds is over, and leaves nothing behind', async () => {
      const message = /without a pause of 20 seconds/
      const answer = await upload(adapter().file, arrivingEvery(21_000))
      await expectRefusal(answer, 408, 'request_timeout', message)
      expect(await stored()).toEqual([`adapter:${tenant.id}:${tenant.adapter.digest}`])
      expect((await upload(small.file)).status).toBe(201)
    })

    test('that trickles without a pause is over after 20 seconds all the same', async () => {
      const began = Date.now()
      const answer = await upload(adapter().file, { ...arrivingEvery(1_000), chunk: 100 })
      await expectRefusal(answer, 408, 'request_timeout', /it must come at 16 KiB a second or faster/)
      expect(Date.now() - began).toBeLessThan(25_000)
    })

    test('over what is left is refused once its header is known, and is taken by its digest when it is there', async () => {
      await upload(adapter().file)
      await policy(tenant.adapter.file.length + adapter().file.length)
      const sent: number[] = []
      const again = (query: string) =>
        upload(adapter().file, {
          chunk: Math.ceil(adapter().file.length / 20),
          query,
          beforeChunk: async (at) => sent.push(at),
        })
      await expectRefusal(await again(''), 403, 'adapter_storage_exceeded', /name its digest/)
      expect((await again(`?digest=${adapter().digest}`)).status).toBe(201)
      expect(sent.length).toBeLessThan(20)
    })
  })

  /** Begins uploads of the tenant that stop after `bytes` until they are cut. */
  async function stalled(count: number, { bytes, isolate }: { bytes: number; isolate: TestEdge }) {
    const cut = Promise.withResolvers<void>()
    const arrived = Array.from({ length: count }, () => Promise.withResolvers<void>())
    const held = arrived.map(({ resolve }) =>
      upload(large.file, {
        isolate,
        chunk: bytes,
        cutAt: bytes,
        beforeChunk: async (at) => {
          if (at === 0) return
          resolve()
          await cut.promise
        },
      }),
    )
    await Promise.all(arrived.map(({ promise }) => promise))
    return async () => {
      cut.resolve()
      return (await Promise.all(held)).map(({ status }) => status)
    }
  }

  test('beyond a tenant’s share of the memory is refused at once; another tenant’s is not, and room comes back', async () => {
    const isolate = new TestEdge()
    const end = await stalled(2, { isolate, bytes: 65_536 })
    const refused = await upload(large.file, { isolate })
    // The wait follows from the pace of the uploads that hold the room.
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    await expectRefusal(refused, 429, 'queue_full', /this tenant's uploads/)
    expect((await upload(small.file, { isolate })).status).toBe(201)
    const other = await edge.seedTenant()
    const { digest, file } = large
    expect((await isolate.own(other, 'PUT', `/adapters/${digest}`, file)).status).toBe(200)
    expect(await end()).toEqual([499, 499])
    expect((await upload(large.file, { isolate })).status).toBe(201)
    const junk = new Uint8Array(100)
    await expectRefusal(await upload(junk, { isolate, length: large.file.length }), 400, 'adapter_invalid')
  })

  test('announced by a tenant without storage holds next to nothing: nobody else’s is refused for it', async () => {
    await policy(0)
    const isolate = new TestEdge()
    const end = await stalled(30, { isolate, bytes: 1 })
    const other = await edge.seedTenant()
    for (const { digest, file } of [large, medium])
      expect((await isolate.own(other, 'PUT', `/adapters/${digest}`, file)).status).toBe(200)
    await end()
    await expectRefusal(await upload(large.file, { isolate }), 403, 'adapter_storage_exceeded')
  })

  test('shorter or longer than announced is refused', async () => {
    await expectRefusal(await upload(small.file, { length: small.file.length + 8 }), 400, 'adapter_invalid')
    await expectRefusal(await upload(small.file, { length: small.file.length - 8 }), 400, 'adapter_invalid')
  })

  test('of another digest than named is refused', async () => {
    await expectRefusal(
      await upload(small.file, { query: `?digest=${'0'.repeat(64)}` }),
      400,
      'digest_mismatch',
    )
    expect(await adapters()).toEqual([tenant.adapter.digest])
  })

  test('over the largest size is refused before it is read', async () => {
    await expectRefusal(await upload(small.file, { length: 96 * 1024 * 1024 }), 413, 'body_too_large')
  })

  test.each([1, 2, 3, 5, 7, 64, 4096])('with NaN is refused, in chunks of %i bytes', async (chunk) => {
    const file = small.file.slice()
    file.set([0x00, 0x7c], file.length - 6)
    await expectRefusal(await upload(file, { chunk }), 400, 'adapter_invalid', /NaN or infinity/)
  })

  test.each([
    ['of no bytes', () => new Uint8Array(0)],
    ['of text', () => Uint8Array.from('not an adapter at all, but long enough', (c) => c.charCodeAt(0))],
    [
      'with a header that claims 2^60 bytes',
      () => {
        const lying = small.file.slice()
        new DataView(lying.buffer).setBigUint64(0, 1n << 60n, true)
        return lying
      },
    ],
  ])('%s is refused', async (_name, make) => {
    await expectRefusal(await upload(make()), 400, 'adapter_invalid')
  })

  test('for weights that are not served is refused once its header is known', async () => {
    const { file } = await makeAdapter({
      backbone: { ...workerBackbone, digest: BackboneDigest.parse('cd'.repeat(32)) },
      seed: 3,
    })
    await expectRefusal(await upload(file), 400, 'backbone_mismatch')
  })

  test.each([
    ['d', (wrong: EdgeBackbone) => makeAdapter({ backbone: wrong, seed: 3 })],
    ['layers', (wrong: EdgeBackbone) => makeAdapter({ backbone: wrong, seed: 3 })],
    ['vocab', (wrong: EdgeBackbone) => makeLargeAdapter({ backbone: wrong, bytes: 100_000 })],
  ] as const)('of another %s than the backbone it names is refused by that name', async (size, make) => {
    const { file } = await make({ ...workerBackbone, [size]: 2 * workerBackbone[size] })
    const answer = await upload(file)
    expect(await answer.clone().json()).toMatchObject({ error: { param: size } })
    await expectRefusal(answer, 400, 'backbone_mismatch')
    expect(await adapters()).toEqual([tenant.adapter.digest])
  })

  test('with late rows is taken where its tail is the generation header of its backbone, and else refused by name', async () => {
    // <|im_start|>, and a token for each byte.
    const header = 1 + 'assistant\n'.length
    for (const tail of [1, 63]) {
      const { file } = await makeAdapter({ backbone: workerBackbone, seed: 904, tail })
      const answer = await upload(file)
      expect(await answer.clone().json()).toMatchObject({ error: { param: 'tail' } })
      await expectRefusal(answer, 400, 'backbone_mismatch')
    }
    expect(await adapters()).toEqual([tenant.adapter.digest])
    const { file } = await makeAdapter({ backbone: workerBackbone, seed: 905, tail: header })
    expect((await upload(file)).status).toBe(201)
  })
})

describe('a tenant’s adapter storage', () => {
  test('holds, and says what is left', async () => {
    const bytes = tenant.adapter.file.length
    await policy(bytes + 10)
    await expectRefusal(await upload(small.file), 403, 'adapter_storage_exceeded', /10 of the \d+/)
    expect(
      (await edge.admin('PUT', `/tenants/${tenant.id}/adapters/${small.digest}`, small.file)).status,
    ).toBe(403)
    expect(await stored()).toHaveLength(1)
    const query = `?digest=${tenant.adapter.digest}`
    expect((await upload(tenant.adapter.file, { query })).status).toBe(201)
  })

  test('is never overdrawn by uploads at once, on several isolates', async () => {
    const files = await Promise.all(
      Array.from({ length: 12 }, (_, at) => makeAdapter({ backbone: workerBackbone, seed: 950 + at })),
    )
    const each = small.file.length
    await policy(tenant.adapter.file.length + 5 * each)
    const isolates = [edge, new TestEdge(), new TestEdge()]
    const answers = await Promise.all(
      files.map(({ file }, at) => upload(file, { isolate: isolates[at % 3] ?? edge })),
    )
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(5)
    expect(answers.filter(({ status }) => status === 403)).toHaveLength(7)
    expect(await adapters()).toHaveLength(6)
  })

  test('counts the same file once', async () => {
    await policy(tenant.adapter.file.length + small.file.length)
    const query = `?digest=${small.digest}`
    const answers = await Promise.all([1, 2, 3].map(() => upload(small.file, { query })))
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201])
  })

  test('is given back by a deletion', async () => {
    await policy(tenant.adapter.file.length + small.file.length)
    const first = await upload(small.file)
    expect(first.status, await first.text()).toBe(201)
    const other = await makeAdapter({ backbone: workerBackbone, seed: 990 })
    expect((await upload(other.file)).status).toBe(403)
    await edge.own(tenant, 'DELETE', `/adapters/${small.digest}`)
    expect((await upload(other.file)).status).toBe(201)
  })
})
