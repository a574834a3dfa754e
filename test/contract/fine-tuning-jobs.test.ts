import { describe, expect, test } from 'vitest'
import { unwrap } from '../../edge/directory/outcome.ts'
import { JobBook } from '../../edge/fine-tuning/job-book.ts'
import { JobSpec } from '../../edge/fine-tuning/job-spec.ts'
import { FileId } from '../../shared/api/files.ts'
import { JobId } from '../../shared/api/fine-tuning.ts'
import { AdapterDigest, BackboneDigest } from '../../shared/ids.ts'
import type { TrainerReport } from '../../shared/training/trainer-protocol.ts'
import { memorySql } from '../fakes/memory-sql.ts'

const file = FileId.parse(`file-${'a'.repeat(24)}`)
const jobId = (of: string) => JobId.parse(`ftjob-${of.repeat(24)}`)
const backbone = BackboneDigest.parse('b'.repeat(64))
const adapter = AdapterDigest.parse('c'.repeat(64))
const spec = JobSpec.parse({
  model: 'tiny',
  backbone: { slug: 'tiny', digest: backbone },
  from: null,
  trainingFile: file,
  validationFile: null,
  suffix: null,
  seed: 1,
  hyperparameters: { n_epochs: 'auto', batch_size: 'auto', learning_rate_multiplier: 'auto' },
  metadata: null,
  deployIfWorse: false,
  estimate: null,
})

function bookWithFile(): JobBook {
  const book = new JobBook(memorySql())
  book.files.add({
    id: file,
    object: 'file',
    bytes: 100,
    created_at: 1,
    filename: 'examples.jsonl',
    purpose: 'fine-tune',
    status: 'processed',
    lines: 10,
  })
  return book
}

const job = jobId('1')
const planned = { type: 'planned', steps: 10, tokens: 1_000, examples: 10 } as const
const done: Extract<TrainerReport, { type: 'succeeded' }> = {
  type: 'succeeded',
  adapter,
  trainedTokens: 990,
  evaluation: { untuned_loss: 2, tuned_loss: 1, samples: [] },
}

describe('a fine-tuning job', () => {
  test('is queued, runs, and succeeds with what its trainer reports', () => {
    const book = bookWithFile()
    expect(unwrap(book.create(job, spec)).status).toBe('queued')
    const hold = { job, fence: 1 }
    expect(book.begin(hold)).toMatchObject({ type: 'train', job: { status: 'running' } })
    expect(unwrap(book.report(hold, planned, null)).order).toBe('continue')
    const metrics = [{ step: 5, trainLoss: 1.5 }]
    expect(
      unwrap(
        book.report(hold, { type: 'progress', step: 5, trainedTokens: 500, secondsLeft: 3, metrics }, null),
      ).order,
    ).toBe('continue')
    expect(book.jobs.find(job)?.progress).toEqual({ step: 5, steps: 10 })
    expect(unwrap(book.succeed(hold, done, 'ft:tiny:1')).order).toBe('stop')
    expect(book.jobs.find(job)).toMatchObject({
      status: 'succeeded',
      fineTunedModel: 'ft:tiny:1',
      trainedTokens: 990,
    })
    expect(book.trained.inMonth(new Date().toISOString().slice(0, 7))).toBe(990)
    expect(book.events.newest(job, { before: undefined, limit: 2 }).map((event) => event.message)).toEqual([
      'The job has successfully completed',
      'New fine-tuned model created: ft:tiny:1',
    ])
  })

  test('needs files of its tenant that were uploaded to train on', () => {
    const book = new JobBook(memorySql())
    expect(book.create(job, spec)).toMatchObject({ ok: false, code: 'not_found' })
  })

  test('refuses what a trainer with a stale lease reports, and keeps what the later one says', () => {
    const book = bookWithFile()
    book.create(job, spec)
    book.begin({ job, fence: 1 })
    expect(book.begin({ job, fence: 2 })).toMatchObject({ type: 'train', job: { fence: 2 } })
    expect(book.begin({ job, fence: 1 })).toBeUndefined()
    expect(book.report({ job, fence: 1 }, planned, null)).toMatchObject({ ok: false, code: 'conflict' })
    expect(book.succeed({ job, fence: 1 }, done, null)).toMatchObject({ ok: false, code: 'conflict' })
    expect(book.addCheckpoint({ job, fence: 1 }, { step: 3, validLoss: null, fence: 1 })).toMatchObject({
      ok: false,
      code: 'conflict',
    })
    expect(book.jobs.find(job)?.status).toBe('running')
  })

  test('stops its trainer when it is cancelled and pauses it when it is paused', () => {
    const book = bookWithFile()
    book.create(job, spec)
    const hold = { job, fence: 1 }
    book.begin(hold)
    book.pause(job)
    expect(unwrap(book.report(hold, planned, null)).order).toBe('pause')
    expect(unwrap(book.resume(job)).status).toBe('queued')
    book.begin({ job, fence: 2 })
    book.cancel(job)
    expect(unwrap(book.report({ job, fence: 2 }, planned, null)).order).toBe('stop')
    expect(book.cancel(job)).toMatchObject({ ok: true })
    expect(book.resume(job)).toMatchObject({ ok: false, code: 'conflict' })
    expect(unwrap(book.succeed({ job, fence: 2 }, done, 'ft:late')).order).toBe('stop')
    expect(book.jobs.find(job)?.status).toBe('cancelled')
  })

  test('fails, and trains nothing, where the month’s tokens do not suffice, those that others reserved counted', () => {
    const book = bookWithFile()
    book.create(job, spec)
    book.create(jobId('2'), spec)
    book.begin({ job, fence: 1 })
    book.begin({ job: jobId('2'), fence: 2 })
    expect(unwrap(book.report({ job, fence: 1 }, planned, 1_500)).order).toBe('continue')
    expect(unwrap(book.report({ job: jobId('2'), fence: 2 }, planned, 1_500)).order).toBe('stop')
    expect(book.jobs.find(jobId('2'))).toMatchObject({
      status: 'failed',
      error: { code: 'budget_exhausted' },
    })
    book.cancel(job)
    book.create(jobId('3'), spec)
    book.begin({ job: jobId('3'), fence: 3 })
    expect(unwrap(book.report({ job: jobId('3'), fence: 3 }, planned, 1_500)).order).toBe('continue')
  })

  test('says that its model is no better than the untuned one', () => {
    const book = bookWithFile()
    book.create(job, spec)
    book.begin({ job, fence: 1 })
    const worse = { ...done, evaluation: { ...done.evaluation, tuned_loss: 2.5 } }
    book.succeed({ job, fence: 1 }, worse, null)
    const warnings = book.events
      .newest(job, { before: undefined, limit: 10 })
      .filter(({ level }) => level === 'warn')
    expect(warnings.map((event) => event.message)).toEqual([
      expect.stringContaining('no better than the untuned one'),
    ])
    expect(book.jobs.find(job)?.fineTunedModel).toBeNull()
  })

  test('says that its validation file has prompts that are trained on, which are not measured', () => {
    const book = bookWithFile()
    book.create(job, spec)
    const hold = { job, fence: 1 }
    book.begin(hold)
    book.report(hold, { ...planned, validationTrainedOn: 3 }, null)
    expect(book.events.newest(job, { before: undefined, limit: 2 })).toEqual([
      expect.objectContaining({ level: 'info' }),
      expect.objectContaining({
        level: 'warn',
        message: "Not measured on 3 of the validation file's examples, whose prompts are trained on",
      }),
    ])
  })

  test('says why the answers of its model were not compared, and has its model', () => {
    const book = bookWithFile()
    book.create(job, spec)
    book.begin({ job, fence: 1 })
    const unanswered = { ...done.evaluation, accuracy: null, answers_error: 'no room' }
    book.succeed({ job, fence: 1 }, { ...done, evaluation: unanswered }, 'ft:tiny:1')
    expect(book.jobs.find(job)).toMatchObject({
      status: 'succeeded',
      fineTunedModel: 'ft:tiny:1',
      evaluation: unanswered,
    })
    const warnings = book.events
      .newest(job, { before: undefined, limit: 10 })
      .filter(({ level }) => level === 'warn')
    expect(warnings.map((event) => event.message)).toEqual(["The models' answers were not compared: no room"])
  })

  test('waits longer from try to try while trainers fail at it, and fails in the end', () => {
    const book = bookWithFile()
    book.create(job, spec)
    const minutes: (number | undefined)[] = []
    for (let fence = 1; book.jobs.find(job)?.status === 'queued'; fence++) {
      expect(book.begin({ job, fence })?.type).toBe('train')
      const { order, waitMs } = unwrap(book.report({ job, fence }, { type: 'released', why: 'failed' }, null))
      expect(order).toBe('stop')
      minutes.push(waitMs && waitMs / 60_000)
    }
    expect(minutes).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, undefined])
    expect(book.jobs.find(job)).toMatchObject({
      status: 'failed',
      error: {
        code: 'internal_error',
        message: expect.stringMatching(/^12 trainers in a row failed at the job/),
      },
    })
    expect(book.begin({ job, fence: 20 })).toBeUndefined()
  })

  test('goes on at once where one trainer vanished, and waits where the next one does too', () => {
    const book = bookWithFile()
    book.create(job, spec)
    const begun = (fence: number) => book.begin({ job, fence })
    expect([begun(1), begun(2)]).toEqual([
      expect.objectContaining({ type: 'train' }),
      expect.objectContaining({ type: 'train' }),
    ])
    expect(begun(3)).toEqual({ type: 'wait', waitMs: 120_000 })
    expect(book.jobs.find(job)?.status).toBe('queued')
    expect(unwrap(book.report({ job, fence: 2 }, planned, null)).order).toBe('stop')
    expect(begun(4)?.type).toBe('train')
  })

  test('has all its tries anew when it has another checkpoint, and none is counted of a trainer that stops', () => {
    const book = bookWithFile()
    book.create(job, spec)
    const released = (fence: number, why: 'failed' | 'stopping') => {
      book.begin({ job, fence })
      return unwrap(book.report({ job, fence }, { type: 'released', why }, null)).waitMs
    }
    expect([released(1, 'failed'), released(2, 'failed')]).toEqual([60_000, 120_000])
    book.begin({ job, fence: 3 })
    book.addCheckpoint({ job, fence: 3 }, { step: 3, validLoss: null, fence: 3 })
    expect(unwrap(book.report({ job, fence: 3 }, { type: 'released', why: 'stopping' }, null))).toEqual({
      order: 'stop',
    })
    expect(released(4, 'failed')).toBe(60_000)
  })

  test('tells a step’s losses once, however often its trainer has to tell them', () => {
    const book = bookWithFile()
    book.create(job, spec)
    const hold = { job, fence: 1 }
    book.begin(hold)
    book.report(hold, planned, null)
    const told = (metrics: readonly { step: number; trainLoss?: number; validLoss?: number }[]) =>
      book.report(
        hold,
        { type: 'progress', step: 5, trainedTokens: 1, secondsLeft: null, metrics: [...metrics] },
        null,
      )
    const fifth = [
      { step: 5, trainLoss: 1.5 },
      { step: 5, validLoss: 1.25 },
    ]
    told(fifth)
    told(fifth)
    told([...fifth, { step: 6, trainLoss: 1.5 }])
    const steps = book.events
      .newest(job, { before: undefined, limit: 20 })
      .filter(({ type }) => type === 'metrics')
    expect(steps.map((event) => event.message)).toEqual([
      'Step 6/10: training loss=1.5000',
      'Step 5/10: validation loss=1.2500',
      'Step 5/10: training loss=1.5000',
    ])
  })

  test('keeps its file from being deleted until it has ended', () => {
    const book = bookWithFile()
    book.create(job, spec)
    expect(book.removeFile(file)).toMatchObject({ ok: false, code: 'conflict' })
    book.cancel(job)
    expect(book.removeFile(file)).toMatchObject({ ok: true })
    expect(book.removeFile(file)).toMatchObject({ ok: false, code: 'not_found' })
  })
})

describe('a tenant’s files', () => {
  test('never take more room than the limit, uploads on their way counted', () => {
    const { files } = bookWithFile()
    const other = FileId.parse(`file-${'d'.repeat(24)}`)
    const third = FileId.parse(`file-${'e'.repeat(24)}`)
    const limit = 1_000
    expect(files.reserve(other, { wanted: 901, limit })).toBeUndefined()
    expect(files.reserve(other, { wanted: 900, limit })).toBe(900)
    expect(files.reserve(third, { wanted: 1, limit })).toBeUndefined()
    expect(files.reserve(third, { wanted: null, limit })).toBeUndefined()
    files.release(other)
    expect(files.reserve(other, { wanted: null, limit })).toBe(900)
  })
})
