import type { Backend, LoadedAdapter } from '../../model/runtime/backend.ts'
import { parseAdapterFile } from '../../shared/adapter-file.ts'
import { QuartetError } from '../../shared/errors.ts'
import { type AdapterDigest, type AdapterKey, adapterKey, type TenantId } from '../../shared/ids.ts'
import type { PinnedAdapter } from '../engine/sequence.ts'

export interface AdapterStoreLimits {
  /** Memory of all resident adapters. */
  readonly bytes: number
  readonly count: number
}

/** An adapter file as it was received: whose it is, what it claims to be and what it is. */
export interface ReceivedAdapter {
  readonly tenant: TenantId
  readonly digest: AdapterDigest
  readonly file: Uint8Array
  /** SHA-256 of `file`, hex. */
  readonly sha256: string
}

interface Resident {
  readonly loaded: LoadedAdapter
  pins: number
}

/**
 * Adapters that are ready to prefill with: a cache bounded in bytes and number that drops the least recently used. A
 * tenant finds only adapters that were pushed for it. A pinned adapter stays until its request has prefilled.
 */
export class AdapterStore {
  readonly #load: Backend['loadAdapter']
  readonly #limits: AdapterStoreLimits
  /** Least recently used first. */
  readonly #resident = new Map<AdapterKey, Resident>()
  #bytes = 0
  #loads = 0
  #evictions = 0

  constructor(backend: Pick<Backend, 'loadAdapter'>, limits: AdapterStoreLimits) {
    this.#load = (file) => backend.loadAdapter(file)
    this.#limits = limits
  }

  get count(): number {
    return this.#resident.size
  }

  get bytes(): number {
    return this.#bytes
  }

  /** The resident adapters with their tenants; the most recently used last. */
  keys(): Iterable<AdapterKey> {
    return this.#resident.keys()
  }

  /** How many adapters were loaded, ever. */
  get loads(): number {
    return this.#loads
  }

  /** How many were dropped to make room, ever. */
  get evictions(): number {
    return this.#evictions
  }

  /** The tenant's adapter, resident until released. Throws `adapter_missing`. */
  pin(tenant: TenantId, digest: AdapterDigest): PinnedAdapter {
    const resident = this.#touch(tenant, digest)
    if (resident === undefined)
      throw new QuartetError(
        'adapter_missing',
        `this node does not hold the adapter ${digest}; push it and repeat`,
      )
    resident.pins++
    let held = true
    return {
      loaded: resident.loaded,
      release() {
        if (held) resident.pins--
        held = false
      },
    }
  }

  /**
   * Checks and loads a file; does nothing when the tenant has it here already. Throws `digest_mismatch`,
   * `adapter_invalid` or `backbone_mismatch` for a wrong file, `body_too_large` for one that the cache cannot hold,
   * `node_unavailable` when all that is resident is in use.
   */
  put({ digest, file, sha256, tenant }: ReceivedAdapter): void {
    if (sha256 !== digest)
      throw new QuartetError(
        'digest_mismatch',
        `the file has the SHA-256 ${sha256}, not ${digest}; send it whole`,
      )
    if (this.#touch(tenant, digest) !== undefined) return
    const loaded = this.#load(parseAdapterFile(file))
    this.#makeRoom(loaded.bytes, tenant)
    this.#resident.set(adapterKey(tenant, digest), { loaded, pins: 0 })
    this.#bytes += loaded.bytes
    this.#loads++
  }

  /** Finds an adapter and makes it the most recently used. */
  #touch(tenant: TenantId, digest: AdapterDigest): Resident | undefined {
    const key = adapterKey(tenant, digest)
    const resident = this.#resident.get(key)
    if (resident === undefined) return undefined
    this.#resident.delete(key)
    this.#resident.set(key, resident)
    return resident
  }

  /**
   * Drops what it must, or throws with nothing dropped. A tenant that would have more than half of the cache drops its own
   * first, so that one with many adapters does not drive out everybody else's.
   */
  #makeRoom(bytes: number, tenant: TenantId): void {
    if (bytes > this.#limits.bytes)
      throw new QuartetError(
        'body_too_large',
        `the adapter takes ${bytes} bytes; this node keeps at most ${this.#limits.bytes} (--adapter-cache-bytes)`,
      )
    const fits = ({ count, held }: { count: number; held: number }) =>
      count < this.#limits.count && held + bytes <= this.#limits.bytes
    const dropped: AdapterKey[] = []
    let after = { count: this.count, held: this.#bytes }
    for (const [key, { loaded, pins }] of this.#inTurn(bytes, tenant)) {
      if (fits(after)) break
      if (pins > 0) continue
      dropped.push(key)
      after = { count: after.count - 1, held: after.held - loaded.bytes }
    }
    if (!fits(after))
      throw new QuartetError('node_unavailable', 'all adapters that this node holds are in use; retry')
    for (const key of dropped) this.#resident.delete(key)
    this.#bytes = after.held
    this.#evictions += dropped.length
  }

  /** The resident adapters, in the order in which they are evicted. */
  #inTurn(bytes: number, tenant: TenantId): readonly (readonly [AdapterKey, Resident])[] {
    const all = [...this.#resident]
    const isOwn = ([key]: readonly [AdapterKey, Resident]) => key.startsWith(`${tenant}/`)
    const own = all.filter(isOwn)
    const ownBytes = own.reduce((sum, [, { loaded }]) => sum + loaded.bytes, bytes)
    const hasMost = ownBytes > this.#limits.bytes / 2 || own.length >= this.#limits.count / 2
    return hasMost ? [...own, ...all.filter((each) => !isOwn(each))] : all
  }
}
