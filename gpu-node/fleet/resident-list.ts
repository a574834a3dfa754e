import { maxResidentAdapters } from '../../shared/heartbeat.ts'
import { encodeResident } from '../../shared/resident-adapters.ts'
import type { AdapterStore } from '../adapters/store.ts'

type Store = Pick<AdapterStore, 'keys' | 'loads' | 'evictions'>

/** The adapters of a store as heartbeats list them, the least recently used left out of a list that would be too long. */
export class ResidentList {
  #version = -1
  #encoded = ''

  of(store: Store): string {
    const version = store.loads + store.evictions
    if (version !== this.#version) {
      this.#version = version
      this.#encoded = encodeResident([...store.keys()].slice(-maxResidentAdapters))
    }
    return this.#encoded
  }
}
