import { expect, it } from 'vitest'
import { Heartbeat, maxResidentAdapters } from '../../shared/heartbeat.ts'
import { AdapterDigest } from '../../shared/ids.ts'
import { encodeResident } from '../../shared/resident-adapters.ts'
import { ResidentList } from './resident-list.ts'

const digest = (at: number) => AdapterDigest.parse(at.toString(16).padStart(12, '0').padEnd(64, '0'))

it('follows what is loaded and dropped, and leaves out the least recently used of too many', () => {
  const held = new Set([digest(1)])
  const store = { digests: () => held, loads: 1, evictions: 0 }
  const list = new ResidentList()
  expect(list.of(store)).toBe(encodeResident([digest(1)]))
  held.add(digest(2))
  expect(list.of({ ...store, loads: 2 })).toBe(encodeResident([digest(1), digest(2)]))
  held.delete(digest(1))
  expect(list.of({ ...store, loads: 2, evictions: 1 })).toBe(encodeResident([digest(2)]))
  for (let at = 10; at < 10 + maxResidentAdapters; at++) held.add(digest(at))
  const longest = list.of({ ...store, loads: 3 + maxResidentAdapters, evictions: 1 })
  expect(Heartbeat.shape.resident.safeParse(longest).success).toBe(true)
  expect(longest.startsWith(encodeResident([digest(10)]))).toBe(true)
})
