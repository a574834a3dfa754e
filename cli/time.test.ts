import { expect, test } from 'vitest'
import { parseDate, parseMoment } from './time.ts'

test.each([
  ['2030-01-31', '2030-01-31T00:00:00.000Z'],
  ['2028-02-29', '2028-02-29T00:00:00.000Z'],
  ['2030-01-31T12:00Z', '2030-01-31T12:00:00.000Z'],
  ['2030-01-31T12:00:00.5+02:00', '2030-01-31T10:00:00.500Z'],
])('%s is %s', (text, iso) => {
  for (const parse of [parseDate, parseMoment]) expect(new Date(parse(text)).toISOString()).toBe(iso)
})

test.each(['2027-02-30', '2027-02-29', '2030-13-01', '2030-1-5', '2030-01', '5', '2030-01-31T25:00Z', ''])(
  '“%s” is no day of the calendar, and no other is taken for it',
  (text) => {
    for (const parse of [parseDate, parseMoment]) expect(() => parse(text)).toThrow(/It must be/)
  },
)

test('a moment may be told by how far away it is', () => {
  const before = Date.now()
  expect(parseMoment('30d') - before).toBeGreaterThanOrEqual(30 * 86_400_000)
  expect(() => parseDate('30d')).toThrow('It must be a date')
})

test('a moment to come is none that lies in the past, in which a log may be read', () => {
  expect(() => parseMoment('2020-01-01')).toThrow('It lies in the past; give a moment to come.')
  expect(new Date(parseDate('2020-01-01')).getUTCFullYear()).toBe(2020)
})
