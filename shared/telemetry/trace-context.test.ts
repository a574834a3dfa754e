import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isSampled, newSpanId, parseTraceContext, traceHeaders } from './trace-context.ts'

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
const spanId = '00f067aa0ba902b7'

describe('a traceparent', () => {
  test('of the recommendation is read', () => {
    expect(parseTraceContext(`00-${traceId}-${spanId}-01`)).toEqual({ traceId, spanId, sampled: true })
    expect(parseTraceContext(`00-${traceId}-${spanId}-00`)?.sampled).toBe(false)
  })

  test('of a later version is read as far as it is known', () => {
    expect(parseTraceContext(`cc-${traceId}-${spanId}-03-what-else`)).toEqual({
      traceId,
      spanId,
      sampled: true,
    })
  })

  test.each([
    null,
    '',
    'garbage',
    `ff-${traceId}-${spanId}-01`,
    `00-${traceId}-${spanId}-01-more`,
    `00-${traceId}-${spanId}`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
    `00-${'0'.repeat(32)}-${spanId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `00-${traceId}-${spanId}-1`,
    ` 00-${traceId}-${spanId}-01`,
  ])('that is %j is as if absent', (header) => {
    expect(parseTraceContext(header)).toBeUndefined()
  })

  test('is handed on as it was read, with its tracestate', () => {
    const hex = (length: number) =>
      fc
        .string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: length, maxLength: length })
        .filter((text) => !/^0+$/.test(text))
    fc.assert(
      fc.property(hex(32), hex(16), fc.boolean(), (trace, span, sampled) => {
        const context = { traceId: trace, spanId: span, sampled, state: 'vendor=1' }
        const { traceparent, tracestate } = traceHeaders(context)
        expect(parseTraceContext(traceparent, tracestate)).toEqual(context)
      }),
    )
  })

  test('takes no tracestate that could break a header', () => {
    expect(parseTraceContext(`00-${traceId}-${spanId}-01`, 'a\r\nb')).not.toHaveProperty('state')
    expect(parseTraceContext(`00-${traceId}-${spanId}-01`, 'a'.repeat(600))).not.toHaveProperty('state')
  })
})

test('span ids are 16 hex digits and differ', () => {
  const ids = Array.from({ length: 1000 }, newSpanId)
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{16}$/)
  expect(new Set(ids).size).toBe(1000)
})

test('a ratio samples its share, all at 1 and none at 0, and the same traces everywhere', () => {
  const ids = Array.from({ length: 4000 }, () => crypto.randomUUID().replaceAll('-', ''))
  expect(ids.filter((id) => isSampled(id, 1))).toHaveLength(4000)
  expect(ids.filter((id) => isSampled(id, 0))).toHaveLength(0)
  const share = ids.filter((id) => isSampled(id, 0.25)).length / 4000
  expect(share).toBeGreaterThan(0.2)
  expect(share).toBeLessThan(0.3)
  for (const id of ids) if (isSampled(id, 0.25)) expect(isSampled(id, 0.5)).toBe(true)
})
