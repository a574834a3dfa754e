import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { OtlpExporter } from '../../shared/telemetry/exporter.ts'
import { tokenUsage } from '../../shared/telemetry/histograms.ts'
import { telemetrySettings } from '../../shared/telemetry/settings.ts'
import { preciseNow, type Span } from '../../shared/telemetry/span.ts'
import { newSpanId } from '../../shared/telemetry/trace-context.ts'
import { type OtlpReceiver, startOtlpReceiver } from '../fakes/otlp-receiver.ts'

let receiver: OtlpReceiver
beforeAll(async () => {
  receiver = await startOtlpReceiver()
})
afterAll(() => receiver.close())
beforeEach(() => receiver.behave({}))

const span = (fields: Partial<Span> = {}): Span => ({
  traceId: 'a'.repeat(32),
  spanId: newSpanId(),
  name: 'work',
  kind: 'server',
  startedAt: preciseNow(),
  endedAt: preciseNow() + 1.5,
  attributes: { text: 'x', count: 3, share: 0.5, yes: true, list: ['stop'], nothing: undefined },
  ...fields,
})

const exporterTo = (endpoint: string, onChange = vi.fn()) => ({
  onChange,
  exporter: new OtlpExporter({
    endpoint,
    headers: { authorization: 'Bearer secret' },
    resource: { service: 'test', version: '1', instance: 'one' },
    onChange,
  }),
})

test('spans arrive as they were, with headers, attributes of each type and times to the microsecond', async () => {
  const { exporter } = exporterTo(receiver.url)
  const sent = span({ error: 'node_error', events: [{ name: 'first', at: preciseNow() }] })
  exporter.add([sent])
  await exporter.flush()
  const { headers, refused, spans } = receiver.received()
  expect(refused).toEqual([])
  expect(headers.authorization).toBe('Bearer secret')
  expect(spans).toHaveLength(1)
  expect(spans[0]).toMatchObject({
    service: 'test',
    instance: 'one',
    spanId: sent.spanId,
    kind: 2,
    attributes: { text: 'x', count: 3, share: 0.5, yes: true, list: ['stop'] },
    status: { code: 2, message: 'node_error' },
    events: [{ name: 'first' }],
  })
  expect(spans[0]?.attributes).not.toHaveProperty('nothing')
  const lasted = Number(BigInt(spans[0]?.endTimeUnixNano ?? 0) - BigInt(spans[0]?.startTimeUnixNano ?? 0))
  expect(lasted / 1e6).toBeCloseTo(sent.endedAt - sent.startedAt, 2)
})

test('histograms arrive once, as the difference since the last time', async () => {
  const { exporter } = exporterTo(receiver.url)
  for (const tokens of [1, 5, 2_000_000])
    exporter.observe(tokenUsage, tokens, { 'gen_ai.token.type': 'input' })
  await exporter.flush()
  await exporter.flush()
  exporter.observe(tokenUsage, 7, { 'gen_ai.token.type': 'input' })
  await exporter.flush()
  const { points, refused } = receiver.received()
  expect(refused).toEqual([])
  expect(points).toEqual([
    { name: tokenUsage.name, attributes: { 'gen_ai.token.type': 'input' }, count: 3, sum: 2_000_006 },
    { name: tokenUsage.name, attributes: { 'gen_ai.token.type': 'input' }, count: 1, sum: 7 },
  ])
})

describe('a receiver that does not take spans', () => {
  test('gets them again when it works again, and says so once', async () => {
    const { exporter, onChange } = exporterTo(receiver.url)
    receiver.behave({ status: 503 })
    exporter.add([span()])
    await exporter.flush()
    await exporter.flush()
    expect(onChange).toHaveBeenCalledOnce()
    receiver.behave({})
    await vi.waitFor(
      async () => {
        await exporter.flush()
        expect(receiver.received().spans).toHaveLength(1)
      },
      { timeout: 5000, interval: 100 },
    )
    expect(onChange.mock.lastCall?.[0]).toMatchObject({ failing: false, dropped: 0 })
  })

  test('and says that it never will loses them, counted', async () => {
    const { exporter, onChange } = exporterTo(receiver.url)
    receiver.behave({ status: 401 })
    exporter.add([span(), span()])
    await exporter.flush()
    expect(exporter.dropped).toBe(2)
    expect(onChange.mock.lastCall?.[0].reason).toMatch(/401/)
  })

  test.each(['traces', 'metrics'] as const)(
    'but refuses %s only still gets the other, at once and later',
    async (refuses) => {
      const { exporter, onChange } = exporterTo(receiver.url)
      receiver.behave({ status: 404, refuses })
      for (const tokens of [1, 2]) {
        exporter.add([span()])
        exporter.observe(tokenUsage, tokens, {})
        await exporter.flush()
      }
      const { points, spans } = receiver.received()
      expect([spans.length, points.length]).toEqual(refuses === 'traces' ? [0, 2] : [2, 0])
      expect(onChange.mock.calls).toMatchObject([[{ signal: refuses, failing: true }]])
    },
  )

  test('never costs more memory than the queue', async () => {
    const { exporter } = exporterTo('http://127.0.0.1:1')
    for (let at = 0; at < 5000; at++) exporter.add([span()])
    await exporter.flush()
    expect(exporter.dropped).toBe(5000 - 2048)
  })
})

describe('telemetry variables', () => {
  test('are off without an endpoint', () => {
    expect(telemetrySettings({})).toEqual({ endpoint: undefined, headers: {}, ratio: 1 })
    expect(telemetrySettings({ QUARTET_OTLP_ENDPOINT: '' }).endpoint).toBeUndefined()
  })

  test('give headers as OpenTelemetry writes them', () => {
    expect(
      telemetrySettings({
        QUARTET_OTLP_ENDPOINT: 'http://collector:4318/',
        QUARTET_OTLP_HEADERS: 'authorization=Bearer%20a=b, x-team=q',
        QUARTET_TRACE_RATIO: '0.1',
      }),
    ).toEqual({
      endpoint: 'http://collector:4318',
      headers: { authorization: 'Bearer a=b', 'x-team': 'q' },
      ratio: 0.1,
    })
  })

  test.each([
    [{ QUARTET_OTLP_ENDPOINT: 'collector:4318' }, /QUARTET_OTLP_ENDPOINT/],
    [{ QUARTET_OTLP_HEADERS: 'hunter2' }, /QUARTET_OTLP_HEADERS/],
    [{ QUARTET_OTLP_HEADERS: 'a b=hunter2' }, /QUARTET_OTLP_HEADERS/],
    [{ QUARTET_OTLP_HEADERS: 'a=hunter2%0d%0ax: y' }, /QUARTET_OTLP_HEADERS/],
    [{ QUARTET_TRACE_RATIO: '2' }, /QUARTET_TRACE_RATIO/],
  ])('%j is refused by name, without the secret', (variables, expected) => {
    expect(() => telemetrySettings(variables)).toThrow(expected)
    expect(() => telemetrySettings(variables)).not.toThrow(/hunter2/)
  })
})
