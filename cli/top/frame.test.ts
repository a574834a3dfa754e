import { stripVTControlCharacters } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FleetResponse } from '../../shared/api/fleet.ts'
import { renderFrame } from './frame.ts'

const report = (fields: object = {}) => ({
  region: 'eu-west',
  instanceId: crypto.randomUUID(),
  backbone: { slug: 'tiny', digest: 'ab'.repeat(32) },
  contextLength: 2048,
  maxBatch: 16,
  running: 4,
  waiting: 0,
  cacheRows: { free: 750, all: 1000 },
  rates: { tokensPerSecond: 120.4, requestsPerSecond: 2.5, firstTokenMsP50: 80, firstTokenMsP95: 210 },
  residentAdapters: 12,
  ageMs: 400,
  ...fields,
})

const node = (id: string, fields: object = {}, state = 'ready') => ({
  id,
  url: `http://${id}:8788`,
  state,
  report: report(fields),
})

const fleetOf = (...nodes: object[]) => FleetResponse.parse({ registryUpMs: 1000, nodes })

const frame = (fleet: FleetResponse, fields: object = {}) =>
  renderFrame({ fleet, edge: 'http://edge', width: 200, height: 50, color: false, ...fields })

test('each node has its state, load, queue, free cache, adapters, rates and times to first token', () => {
  const fleet = fleetOf(node('node-1'), node('node-2', { running: 16, waiting: 3 }, 'draining'))
  expect(frame(fleet).join('\n')).toMatchInlineSnapshot(`
    "quartet top  http://edge
    node          state     region    load  queue  kv free  adapters  tok/s  req/s  first p50  first p95  heard
    node-1        ready     eu-west   4/16      0     75 %        12    120    2.5      80 ms     210 ms  0.4 s
    node-2        draining  eu-west  16/16      3     75 %        12    120    2.5      80 ms     210 ms  0.4 s
    1 of 2 ready                     20/32      3     75 %        24    241    5.0    ≤ 80 ms   ≤ 210 ms"
  `)
})

test('a node that is lost counts for nothing, one that never spoke shows dashes', () => {
  const fleet = fleetOf(
    node('gone', { running: 9, rates: { ...report().rates, tokensPerSecond: 999 } }, 'lost'),
    { id: 'static', url: 'http://s', state: 'unregistered', report: null },
  )
  const lines = frame(fleet)
  expect(lines[2]).toMatch(/gone +lost/)
  expect(lines[3]).toMatch(/static +unregistered +– +– +–/)
  expect(lines.at(-1)).toMatch(/0 of 2 ready +0\/0 +0 +– +0 +0\.0 +0\.0 +– +–/)
})

test('a node that left of itself is not counted as missing', () => {
  const lines = frame(fleetOf(node('here'), node('gone', {}, 'left')))
  expect(lines[3]).toMatch(/gone +left/)
  expect(lines.at(-1)).toMatch(/^1 of 1 ready/)
})

test('an empty fleet says so', () => {
  expect(frame(fleetOf()).at(-1)).toBe('no node has registered yet')
})

describe('a small terminal', () => {
  const fleet = fleetOf(...Array.from({ length: 30 }, (_, at) => node(`node-${at}`)))

  test('keeps what matters most and says how many nodes are hidden', () => {
    const lines = frame(fleet, { width: 40, height: 10 })
    expect(lines[1]).toMatch(/^node +state +load/)
    expect(lines).toHaveLength(10)
    expect(lines[8]).toBe('… 24 more')
    expect(lines.at(-1)).toMatch(/^30 of 30 ready/)
  })

  test('of whatever size never gets a line too long or one too many', () => {
    const visible = (line: string) => stripVTControlCharacters(line).length
    fc.assert(
      fc.property(fc.nat(220), fc.nat(60), fc.boolean(), (width, height, color) => {
        const lines = frame(fleet, { width, height, color })
        expect(lines.length).toBeLessThanOrEqual(height)
        for (const line of lines) expect(visible(line)).toBeLessThanOrEqual(width)
      }),
    )
  })
})

test('what a node or an edge says cannot steer the terminal', () => {
  const fleet = fleetOf(node('node-1'))
  const lines = frame(fleet, { problem: 'bad \x1b[2J\x07 news' })
  expect(lines.join('')).not.toMatch(/\p{Cc}/u)
})

test('colour only where it is asked for', () => {
  const fleet = fleetOf(node('node-1'))
  expect(frame(fleet).join('')).not.toContain('\x1b')
  expect(frame(fleet, { color: true }).join('')).toContain('\x1b[32m')
})
