import fc from 'fast-check'
import { expect, it, test } from 'vitest'
import { AdapterDigest, adapterKey, TenantId } from './ids.ts'
import { decodeResident, encodeResident, residentCount, residentPrefix } from './resident-adapters.ts'

const acme = TenantId.parse('acme')

const digests = fc
  .uniqueArray(fc.stringMatching(/^[0-9a-f]{64}$/), { selector: (digest) => digest.slice(0, 12) })
  .map((texts) => texts.map((text) => AdapterDigest.parse(text)))

it('a list of residents holds exactly what was put in, in eight characters each', () => {
  fc.assert(
    fc.property(digests, digests, (held, others) => {
      const list = encodeResident(held.map((digest) => adapterKey(acme, digest)))
      const prefixes = decodeResident(list)
      expect(list).toHaveLength(8 * held.length)
      expect(residentCount(list)).toBe(held.length)
      for (const digest of held) expect(prefixes.has(residentPrefix(adapterKey(acme, digest)))).toBe(true)
      const known = new Set(held.map((digest) => digest.slice(0, 12)))
      for (const digest of others)
        if (!known.has(digest.slice(0, 12)))
          expect(prefixes.has(residentPrefix(adapterKey(acme, digest)))).toBe(false)
    }),
  )
})

test('the same file of ten thousand tenants is ten thousand residents', () => {
  const digest = AdapterDigest.parse('00ff10abcdef'.padEnd(64, '7'))
  const prefixes = Array.from({ length: 10_000 }, (_, at) =>
    residentPrefix(adapterKey(TenantId.parse(`tenant-${at}`), digest)),
  )
  expect(new Set(prefixes).size).toBe(10_000)
})
