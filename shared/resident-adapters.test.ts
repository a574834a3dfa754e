import fc from 'fast-check'
import { expect, it } from 'vitest'
import { AdapterDigest } from './ids.ts'
import { decodeResident, encodeResident, residentCount, residentPrefix } from './resident-adapters.ts'

const digests = fc
  .uniqueArray(fc.stringMatching(/^[0-9a-f]{64}$/), { selector: (digest) => digest.slice(0, 12) })
  .map((texts) => texts.map((text) => AdapterDigest.parse(text)))

it('a list of residents holds exactly what was put in, in eight characters each', () => {
  fc.assert(
    fc.property(digests, digests, (held, others) => {
      const list = encodeResident(held)
      const prefixes = decodeResident(list)
      expect(list).toHaveLength(8 * held.length)
      expect(residentCount(list)).toBe(held.length)
      for (const digest of held) expect(prefixes.has(residentPrefix(digest))).toBe(true)
      const known = new Set(held.map((digest) => digest.slice(0, 12)))
      for (const digest of others)
        if (!known.has(digest.slice(0, 12))) expect(prefixes.has(residentPrefix(digest))).toBe(false)
    }),
  )
})

it('a prefix is the base64 of the first six bytes', () => {
  const digest = AdapterDigest.parse('00ff10abcdef'.padEnd(64, '7'))
  expect(residentPrefix(digest)).toBe(Buffer.from('00ff10abcdef', 'hex').toString('base64'))
})
