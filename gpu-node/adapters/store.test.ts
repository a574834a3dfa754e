import { describe, expect, it } from 'vitest'
import { sha256Hex } from '../../shared/digest.ts'
import { AdapterDigest, TenantId } from '../../shared/ids.ts'
import { FakeBackend } from '../../test/fakes/fake-backend.ts'
import { tinyAdapter } from '../../test/fakes/tiny-adapter.ts'
import { AdapterStore, type ReceivedAdapter } from './store.ts'

const acme = TenantId.parse('acme')
const umbrella = TenantId.parse('umbrella')
/** Tensor bytes of `tinyAdapter`. */
const size = 2 * 2 * 4 * 2

async function received(seed: number, tenant = acme): Promise<ReceivedAdapter> {
  const file = tinyAdapter({ seed })
  const sha256 = await sha256Hex(file)
  return { tenant, file, sha256, digest: AdapterDigest.parse(sha256) }
}

function storeOf({ adapters = 100, count = 100 } = {}) {
  const backend = new FakeBackend()
  let loads = 0
  const store = new AdapterStore(
    {
      loadAdapter(file) {
        loads++
        return backend.loadAdapter(file)
      },
    },
    { bytes: adapters * size, count },
  )
  return { store, loads: () => loads }
}

describe('the adapter store', () => {
  it('loads an adapter once, however often it is pushed', async () => {
    const { loads, store } = storeOf()
    const adapter = await received(1)
    store.put(adapter)
    store.put(adapter)
    expect(loads()).toBe(1)
    expect(store.count).toBe(1)
    expect(store.bytes).toBe(size)
    expect(store.pin(acme, adapter.digest).loaded.rows).toBe(2)
  })

  it("never gives one tenant another tenant's adapter", async () => {
    const { store } = storeOf()
    const adapter = await received(1, acme)
    store.put(adapter)
    expect(() => store.pin(umbrella, adapter.digest)).toThrow(
      expect.objectContaining({ code: 'adapter_missing' }),
    )
  })

  it('drops the least recently used, by bytes and by number', async () => {
    for (const limits of [{ adapters: 2 }, { count: 2 }]) {
      const { store } = storeOf(limits)
      const [a, b, c] = await Promise.all([received(1), received(2), received(3)])
      store.put(a)
      store.put(b)
      store.pin(acme, a.digest).release()
      store.put(c)
      expect(store.count).toBe(2)
      expect(store.evictions).toBe(1)
      expect(() => store.pin(acme, b.digest)).toThrow()
      store.pin(acme, a.digest)
      store.pin(acme, c.digest)
    }
  })

  it('lets a tenant with many adapters drive out its own before those of others', async () => {
    const { store } = storeOf({ adapters: 4 })
    const theirs = await Promise.all([received(1, umbrella), received(2, umbrella)])
    for (const each of theirs) store.put(each)
    for (let seed = 10; seed < 30; seed++) store.put(await received(seed, acme))
    for (const { digest } of theirs) store.pin(umbrella, digest).release()
    expect(store.count).toBe(4)
    expect(store.evictions).toBe(18)
  })

  it('never drops what is pinned, and says so when nothing else is left', async () => {
    const { store } = storeOf({ adapters: 2 })
    const [a, b, c] = await Promise.all([received(1), received(2), received(3)])
    store.put(a)
    store.put(b)
    const pins = [store.pin(acme, a.digest), store.pin(acme, a.digest), store.pin(acme, b.digest)]
    expect(() => store.put(c)).toThrow(
      expect.objectContaining({ code: 'node_unavailable', retryAfterSeconds: undefined }),
    )
    pins[0]?.release()
    pins[0]?.release()
    expect(() => store.put(c)).toThrow()
    pins[1]?.release()
    store.put(c)
    expect(() => store.pin(acme, a.digest)).toThrow()
    expect(store.pin(acme, b.digest).loaded.bytes).toBe(size)
  })

  it('refuses an adapter that the whole cache could not hold, and drops nothing for it', async () => {
    const { store } = storeOf({ adapters: 1 })
    store.put(await received(1))
    const file = tinyAdapter({ seed: 2, rows: 3 })
    const sha256 = await sha256Hex(file)
    expect(() => store.put({ tenant: acme, file, sha256, digest: AdapterDigest.parse(sha256) })).toThrow(
      expect.objectContaining({ code: 'body_too_large' }),
    )
    expect(store.count).toBe(1)
  })

  it('refuses bytes that are not what they claim to be', async () => {
    const { loads, store } = storeOf()
    const [a, b] = await Promise.all([received(1), received(2)])
    expect(() => store.put({ ...a, digest: b.digest })).toThrow(
      expect.objectContaining({ code: 'digest_mismatch' }),
    )
    expect(loads()).toBe(0)
  })
})
