import { expect, it } from 'vitest'
import { Heartbeat, maxResidentAdapters } from '../../shared/heartbeat.ts'
import { AdapterDigest, adapterKey, TenantId } from '../../shared/ids.ts'
import { encodeResident } from '../../shared/resident-adapters.ts'
import { ResidentList } from './resident-list.ts'

const adapter = (at: number) =>
  adapterKey(TenantId.parse('acme'), AdapterDigest.parse(at.toString(16).padStart(12, '0').padEnd(64, '0')))

it('follows what is loaded and dropped, and leaves out the least recently used of too many', () => {
  const held = new Set([adapter(1)])
  const store = { keys: () => held, loads: 1, evictions: 0 }
  const list = new ResidentList()
  expect(list.of(store)).toBe(encodeResident([adapter(1)]))
  held.add(adapter(2))
  expect(list.of({ ...store, loads: 2 })).toBe(encodeResident([adapter(1), adapter(2)]))
  held.delete(adapter(1))
  expect(list.of({ ...store, loads: 2, evictions: 1 })).toBe(encodeResident([adapter(2)]))
  for (let at = 10; at < 10 + maxResidentAdapters; at++) held.add(adapter(at))
  const longest = list.of({ ...store, loads: 3 + maxResidentAdapters, evictions: 1 })
  expect(Heartbeat.shape.resident.safeParse(longest).success).toBe(true)
  expect(longest.startsWith(encodeResident([adapter(10)]))).toBe(true)
})
