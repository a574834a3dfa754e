import { describe, expect, test } from 'vitest'
import { NodeId } from '../../shared/heartbeat.ts'
import { AdapterDigest, adapterKey, TenantId } from '../../shared/ids.ts'
import { encodeResident, residentPrefix } from '../../shared/resident-adapters.ts'
import { nodeStatus } from '../../test/edge/node-status.ts'
import { FleetView, maxSnapshotMs, type RegistrySource } from './fleet-view.ts'
import { Roster } from './roster.ts'

class Scene {
  time = 1_000_000
  readonly now = () => this.time
  readonly roster = new Roster(this.now)
  readonly logged: string[] = []
  readonly behind: Promise<unknown>[] = []
  calls = 0
  isDown = false
  readonly view = new FleetView({
    fixed: [{ id: NodeId.parse('fixed'), url: 'http://10.0.0.9' }],
    log: (_level, event) => this.logged.push(event),
    now: this.now,
  })
  readonly source: RegistrySource = {
    load: async (known) => {
      this.calls += 1
      if (this.isDown) throw new Error('the registry is down')
      return this.roster.snapshot(known)
    },
    background: (work) => this.behind.push(work),
  }

  async ids() {
    return (await this.view.current(this.source)).nodes.map(({ id }) => id)
  }

  async settled() {
    await Promise.all(this.behind)
  }
}

describe('an isolate’s view of the fleet', () => {
  test('is fetched once by a cold isolate and holds the fixed nodes too', async () => {
    const scene = new Scene()
    scene.roster.beat(nodeStatus())
    expect(await scene.ids()).toEqual(['node-1', 'fixed'])
    expect(await scene.ids()).toEqual(['node-1', 'fixed'])
    expect(scene.calls).toBe(1)
  })

  test('is never older than two seconds, though no request of a busy isolate waits for it', async () => {
    const scene = new Scene()
    await scene.ids()
    for (let i = 0; i < 200; i++) {
      scene.time += 50
      const before = scene.calls
      const { staleMs } = await scene.view.current({
        ...scene.source,
        load: async (known) => {
          // The registry's answer takes a while; the request does not wait for it.
          scene.calls += 1
          return scene.roster.snapshot(known)
        },
      })
      expect(staleMs).toBeNull()
      expect(scene.behind.length).toBe(scene.calls - 1)
      if (scene.calls > before) await scene.settled()
    }
    expect(scene.calls).toBeLessThanOrEqual(Math.ceil(10_000 / 1_500) + 1)
  })

  test('is fetched anew by an isolate that was idle', async () => {
    const scene = new Scene()
    await scene.ids()
    scene.time += maxSnapshotMs
    scene.roster.beat(nodeStatus())
    expect(await scene.ids()).toEqual(['node-1', 'fixed'])
    expect(scene.behind).toEqual([])
  })

  test('goes on as it was while the registry is down, and says so once', async () => {
    const scene = new Scene()
    scene.roster.beat(nodeStatus())
    await scene.ids()
    scene.isDown = true
    for (let i = 0; i < 600; i++) {
      scene.time += 100
      const fleet = await scene.view.current(scene.source)
      expect(fleet.nodes.map(({ id }) => id)).toEqual(['node-1', 'fixed'])
      if (i > 20) expect(fleet.staleMs).toBe((i + 1) * 100)
    }
    await scene.settled()
    expect(scene.logged).toEqual(['registry_down'])
    expect(scene.calls).toBeLessThan(70)
    scene.isDown = false
    scene.roster.beat(nodeStatus({ sequence: 1 }))
    scene.time += 5_000
    await scene.view.current(scene.source)
    await scene.settled()
    expect((await scene.view.current(scene.source)).staleMs).toBeNull()
    expect(scene.logged).toEqual(['registry_down', 'registry_back'])
  })

  test('is the fixed nodes when the registry never answered', async () => {
    const scene = new Scene()
    scene.isDown = true
    expect(await scene.ids()).toEqual(['fixed'])
  })

  test('knows a fixed node that has registered once only, with its load', async () => {
    const scene = new Scene()
    scene.roster.beat(nodeStatus({ node: 'fixed', url: 'http://10.0.0.9', running: 3 }))
    const { nodes } = await scene.view.current(scene.source)
    expect(nodes).toHaveLength(1)
    expect(nodes[0]?.report?.running).toBe(3)
  })

  test('keeps lost nodes apart, as the last resort, where no listed node takes their place', async () => {
    const scene = new Scene()
    scene.roster.beat(nodeStatus())
    scene.roster.beat(nodeStatus({ node: 'fixed', url: 'http://10.0.0.9' }))
    scene.roster.beat(nodeStatus({ node: 'left', url: 'http://10.0.0.3', draining: true }))
    scene.time += 6_000
    const { lost, nodes } = await scene.view.current(scene.source)
    expect(nodes).toMatchObject([{ id: 'fixed', report: null }])
    expect(lost).toMatchObject([{ id: 'node-1', isLost: true }])
  })

  test('keeps a list of residents that was not sent again', async () => {
    const scene = new Scene()
    const key = adapterKey(TenantId.parse('acme'), AdapterDigest.parse('0123456789ab'.padEnd(64, 'f')))
    scene.roster.beat(nodeStatus({ resident: encodeResident([key]) }))
    await scene.ids()
    scene.time += 3_000
    scene.roster.beat(nodeStatus({ sequence: 1, resident: encodeResident([key]) }))
    const { nodes } = await scene.view.current(scene.source)
    expect(nodes[0]?.report?.resident.has(residentPrefix(key))).toBe(true)
  })

  test('takes the registry’s word, not the node’s clock, for when a node was heard', async () => {
    const scene = new Scene()
    scene.roster.beat(nodeStatus())
    scene.time += 700
    const { nodes } = await scene.view.current(scene.source)
    expect(nodes[0]?.report?.reportedAt).toBe(scene.time - 700)
  })
})
