import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { nodeLostMs } from '../../shared/heartbeat.ts'
import { nodeStatus } from '../../test/edge/node-status.ts'
import { Roster } from './roster.ts'

function rosterAt(time = 1_000_000) {
  const clock = { time }
  return { clock, roster: new Roster(() => clock.time) }
}
const ids = (roster: Roster) => roster.snapshot({}).nodes.map(({ status }) => status.node)

describe('the registry', () => {
  test('lists a node from its first heartbeat until it is silent for long', () => {
    const { clock, roster } = rosterAt()
    expect(roster.beat(nodeStatus())).toEqual({ kind: 'accepted', news: 'a process' })
    expect(ids(roster)).toEqual(['node-1'])
    clock.time += nodeLostMs - 1
    expect(ids(roster)).toEqual(['node-1'])
    clock.time += 1
    expect(ids(roster)).toEqual([])
    expect(roster.snapshot({}).lost.map(({ status }) => status.node)).toEqual(['node-1'])
    expect(roster.summaries()).toMatchObject([{ id: 'node-1', state: 'lost' }])
    roster.beat(nodeStatus({ sequence: 1 }))
    expect(ids(roster)).toEqual(['node-1'])
    clock.time += 11 * 60_000
    expect(roster.forget()).toEqual(['node-1'])
    expect(roster.summaries()).toEqual([])
  })

  test('knows a node that drained and left from one that was lost while it drained', () => {
    const { clock, roster } = rosterAt()
    roster.beat(nodeStatus({ draining: true, running: 1 }))
    expect(roster.summaries()).toMatchObject([{ state: 'draining' }])
    clock.time += nodeLostMs
    expect(roster.summaries()).toMatchObject([{ state: 'lost' }])
    roster.beat(nodeStatus({ draining: true, running: 0, sequence: 1 }))
    expect(roster.summaries()).toMatchObject([{ state: 'draining' }])
    clock.time += nodeLostMs
    expect(roster.summaries()).toMatchObject([{ state: 'left' }])
    expect(roster.snapshot({}).lost).toEqual([])
  })

  test('refuses a heartbeat that was sent before and one that was overtaken', () => {
    const { roster } = rosterAt()
    roster.beat(nodeStatus({ sequence: 5, running: 3 }))
    for (const sequence of [5, 4, 0])
      expect(roster.beat(nodeStatus({ sequence, running: 9 }))).toEqual({ kind: 'out-of-order' })
    expect(roster.snapshot({}).nodes[0]?.status.running).toBe(3)
  })

  test('lets a new process take a node’s place, and the old one never back', () => {
    const { roster } = rosterAt()
    roster.beat(nodeStatus({ sequence: 900 }))
    expect(roster.beat(nodeStatus({ process: 1 }))).toEqual({ kind: 'accepted', news: 'a process' })
    expect(roster.beat(nodeStatus({ sequence: 901 }))).toEqual({ kind: 'replaced' })
    expect(roster.beat(nodeStatus({ process: 1, sequence: 1 }))).toMatchObject({ kind: 'accepted' })
  })

  test('never goes back to an older heartbeat, in whatever order they arrive', () => {
    const beats = fc.array(fc.record({ process: fc.nat(2), sequence: fc.nat(20) }), { maxLength: 60 })
    fc.assert(
      fc.property(beats, (sent) => {
        const { roster } = rosterAt()
        const accepted: { process: number; sequence: number }[] = []
        for (const beat of sent)
          if (roster.beat(nodeStatus({ ...beat, running: beat.sequence })).kind === 'accepted')
            accepted.push(beat)
        for (const [at, beat] of accepted.entries()) {
          const before = accepted.slice(0, at)
          const last = before.at(-1)
          if (last?.process === beat.process) expect(beat.sequence).toBeGreaterThan(last.sequence)
          else expect(before.some(({ process }) => process === beat.process)).toBe(false)
        }
        expect(roster.snapshot({}).nodes[0]?.status.running).toBe(accepted.at(-1)?.sequence)
      }),
    )
  })

  test('remembers over a restart where nodes are, not what they did', () => {
    const { clock, roster } = rosterAt()
    roster.remember(nodeStatus({ sequence: 77, running: 8, resident: 'AAAAAAAA' }))
    expect(roster.snapshot({}).nodes).toMatchObject([
      { status: { node: 'node-1', running: 0 }, resident: '' },
    ])
    expect(roster.summaries()).toMatchObject([{ report: null }])
    expect(roster.beat(nodeStatus({ sequence: 78 }))).toMatchObject({ kind: 'accepted' })
    clock.time += nodeLostMs
    expect(ids(roster)).toEqual([])
  })

  test('sends a list of residents only to who does not have it', () => {
    const { roster } = rosterAt()
    roster.beat(nodeStatus({ resident: 'AAAAAAAA' }))
    const [first] = roster.snapshot({}).nodes
    expect(first?.resident).toBe('AAAAAAAA')
    const known = { 'node-1': first?.residentVersion ?? -1 }
    roster.beat(nodeStatus({ sequence: 1, resident: 'AAAAAAAA', running: 2 }))
    expect(roster.snapshot(known).nodes[0]).not.toHaveProperty('resident')
    roster.beat(nodeStatus({ sequence: 2, resident: 'AAAAAAAABBBBBBBB' }))
    expect(roster.snapshot(known).nodes[0]?.resident).toBe('AAAAAAAABBBBBBBB')
  })
})
