import { describe, expect, test } from 'vitest'
import { WorkQueue } from '../../edge/fine-tuning/work-queue.ts'
import { JobId } from '../../shared/api/fine-tuning.ts'
import { BackboneDigest, TenantId } from '../../shared/ids.ts'
import { TrainerId, trainerLeaseMs } from '../../shared/training/trainer-protocol.ts'
import { memorySql } from '../fakes/memory-sql.ts'

const jobId = (of: string) => JobId.parse(`ftjob-${of.repeat(24)}`)
const job = jobId('1')
const backbone = BackboneDigest.parse('b'.repeat(64))

describe('the queue of jobs', () => {
  const trainer = TrainerId.parse('trainer-1')
  const other = TrainerId.parse('trainer-2')
  const [acme, globex] = [TenantId.parse('acme'), TenantId.parse('globex')]

  test('never gives one job to two trainers while a lease lives, and a later lease has a higher fence', () => {
    let now = 1_000
    const queue = new WorkQueue(memorySql(), { now: () => now })
    queue.add({ tenant: acme, job, backbone })
    const first = queue.claim(trainer, backbone)
    expect(first).toMatchObject({ tenant: acme, job })
    expect(queue.claim(other, backbone)).toBeUndefined()
    now += trainerLeaseMs - 1
    expect(first && queue.renew(first)).toBe(true)
    now += trainerLeaseMs - 1
    expect(queue.claim(other, backbone)).toBeUndefined()
    now += 1
    const second = queue.claim(other, backbone)
    expect(second?.fence).toBeGreaterThan(first?.fence ?? Number.NaN)
    expect(first && queue.renew(first)).toBe(false)
  })

  test('gives trainers jobs of their own backbone alone', () => {
    const queue = new WorkQueue(memorySql())
    queue.add({ tenant: acme, job, backbone })
    expect(queue.claim(trainer, BackboneDigest.parse('d'.repeat(64)))).toBeUndefined()
  })

  test('takes tenants in turn, however many jobs one of them queues', () => {
    let now = 0
    const queue = new WorkQueue(memorySql(), { now: () => ++now })
    for (const of of ['1', '2', '3']) queue.add({ tenant: acme, job: jobId(of), backbone })
    queue.add({ tenant: globex, job: jobId('4'), backbone })
    const order: (string | undefined)[] = []
    for (let at = 0; at < 4; at++) {
      const lease = queue.claim(trainer, backbone)
      order.push(lease?.tenant)
      if (lease !== undefined) queue.remove(lease.tenant, lease.job)
    }
    expect(order).toEqual([acme, globex, acme, acme])
  })

  test('keeps a job that waits for its next try from all trainers until then, and gives out others', () => {
    let now = 1_000
    const queue = new WorkQueue(memorySql(), { now: () => now })
    queue.add({ tenant: acme, job, backbone })
    const lease = queue.claim(trainer, backbone)
    if (lease !== undefined) queue.defer(lease, 5_000)
    queue.add({ tenant: acme, job, backbone })
    expect(queue.claim(other, backbone)).toBeUndefined()
    queue.add({ tenant: acme, job: jobId('2'), backbone })
    expect(queue.claim(other, backbone)).toMatchObject({ job: jobId('2') })
    now += 5_000
    expect(queue.claim(trainer, backbone)).toMatchObject({ job })
  })

  test('lets another trainer have a job at once when its trainer gives it back', () => {
    const queue = new WorkQueue(memorySql())
    queue.add({ tenant: acme, job, backbone })
    const lease = queue.claim(trainer, backbone)
    if (lease !== undefined) queue.release(lease)
    expect(queue.claim(other, backbone)).toMatchObject({ job })
  })
})
