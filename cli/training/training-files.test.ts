import { appendFileSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { describeFailure } from '../command/failure.ts'
import {
  checkpointFile,
  metricsFile,
  prepareFiles,
  refuseOverwriting,
  type TrainingFiles,
  trainingFiles,
  withTrainingFiles,
} from './training-files.ts'

let folder: string
let files: TrainingFiles

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-training-'))
  files = trainingFiles(join(folder, 'a.safetensors'))
})

afterEach(() => rm(folder, { recursive: true }))

const fresh = { resume: false, force: false }
const full = () => Promise.reject(Object.assign(new Error('no space left on device'), { code: 'ENOSPC' }))
const messageOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'no failure',
    (error: unknown) => describeFailure(error),
  )

it('a checkpoint replaces the one before it', async () => {
  const store = checkpointFile(files, { resumed: undefined })
  await store.save(Uint8Array.of(1))
  await store.save(Uint8Array.of(2))
  expect(await prepareFiles(files, { ...fresh, resume: true })).toEqual(Buffer.of(2))
  expect(await readdir(folder)).toEqual(['a.checkpoint'])
})

it('a full disk at a checkpoint is said, and the one before stays whole', async () => {
  const store = checkpointFile(files, { resumed: undefined })
  await store.save(Uint8Array.of(1))
  const next = checkpointFile(files, { resumed: Uint8Array.of(1), write: full })
  expect(await messageOf(next.save(Uint8Array.of(2)))).toMatch(
    /the disk is full: .*a.checkpoint could not be written; the last checkpoint is whole: free some space and go on with --resume/,
  )
  expect([...(await readFile(files.checkpoint))]).toEqual([1])
})

it('a full disk at the first checkpoint promises nothing', async () => {
  const store = checkpointFile(files, { resumed: undefined, write: full })
  expect(await messageOf(store.save(Uint8Array.of(1)))).toMatch(/free some space and start again/)
})

it('nothing that is there is lost without --force', async () => {
  await writeFile(files.adapter, 'kept')
  expect(await messageOf(prepareFiles(files, fresh))).toMatch(/is there already; choose another --out/)
  expect(await messageOf(prepareFiles(files, { ...fresh, resume: true }))).toMatch(
    /is finished; there is nothing/,
  )
  expect(await prepareFiles(files, { ...fresh, force: true })).toBeUndefined()
  expect(await readFile(files.adapter, 'utf8')).toBe('kept')
})

it('a file that is read is never written over, and a folder is no file, not even with --force', async () => {
  const none = { data: join(folder, 'other.jsonl'), dev: undefined, init: 'anchor', initTextFile: undefined }
  const read = (changes: Partial<typeof none>) => () => refuseOverwriting(files, { ...none, ...changes })
  expect(read({})).not.toThrow()
  for (const file of [files.adapter, files.metrics]) expect(read({ data: file })).toThrow(/write over it/)
  expect(read({ init: files.adapter })).toThrow(/write over it/)
  expect(await messageOf(withTrainingFiles(trainingFiles(folder), async () => {}))).toMatch(
    /is a folder; name a file in it/,
  )
})

it('a folder that is not there is named with what to do', async () => {
  const nowhere = trainingFiles(join(folder, 'none', 'a.safetensors'))
  expect(await messageOf(withTrainingFiles(nowhere, async () => {}))).toMatch(
    /the folder .*none is not there; make it, or choose another --out/,
  )
})

it('the files that a killed process was writing are removed, those of a living one are not', async () => {
  const noProcess = 2 ** 22 + 1
  await writeFile(`${files.checkpoint}.${noProcess}.partial`, '')
  await writeFile(`${files.checkpoint}.${process.pid}.partial`, '')
  await writeFile(join(folder, `other.${noProcess}.partial`), '')
  await prepareFiles(files, fresh)
  expect((await readdir(folder)).sort()).toEqual([
    `a.checkpoint.${process.pid}.partial`,
    `other.${noProcess}.partial`,
  ])
})

it('two trainings never write to the same files', async () => {
  await withTrainingFiles(files, async () => {
    expect(await messageOf(withTrainingFiles(files, async () => {}))).toMatch(
      /another training writes to .*a.safetensors; wait for it, or choose another --out/,
    )
  })
  expect(await withTrainingFiles(files, async () => 'free again')).toBe('free again')
})

it('metrics of a resumed training begin with those before it and nothing twice', async () => {
  const record = (step: number) => ({ type: 'evaluation', step, devLoss: 1 }) as const
  const metrics = metricsFile(files)
  await metrics.begin([])
  for (const step of [1, 2, 3]) metrics.append(record(step))
  await metrics.begin([record(1)])
  metrics.append(record(2))
  const lines = (await readFile(files.metrics, 'utf8')).trim().split('\n')
  expect(lines.map((line) => JSON.parse(line).step)).toEqual([1, 2])
})

it('metrics that find no room end no training, leave no part of a line, and are written whole when there is room again', async () => {
  const record = (step: number) => ({ type: 'evaluation', step, devLoss: 1 }) as const
  const all = [1, 2, 3].map(record)
  const told: string[] = []
  let isFull = false
  const metrics = metricsFile(files, {
    warn: (text) => told.push(text),
    appendLine: (path, line) => {
      appendFileSync(path, isFull ? line.slice(0, 5) : line)
      if (isFull) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    },
  })
  await metrics.begin([])
  for (const each of all) {
    metrics.append(each)
    isFull = true
  }
  expect(told).toEqual([
    expect.stringMatching(/the disk is full: .* lacks the last records; the training goes on/),
  ])
  const lines = async () => (await readFile(files.metrics, 'utf8')).trim().split('\n')
  expect(await lines()).toEqual([JSON.stringify(all[0])])
  await metrics.complete(all)
  expect(await lines()).toEqual(all.map((each) => JSON.stringify(each)))
})

it('files stand beside the adapter under its name', () => {
  expect(trainingFiles('/x/a.safetensors')).toEqual({
    adapter: '/x/a.safetensors',
    checkpoint: '/x/a.checkpoint',
    metrics: '/x/a.metrics.jsonl',
    curve: '/x/a.loss.svg',
    lock: '/x/a.lock',
  })
  expect(trainingFiles('/x/a').checkpoint).toBe('/x/a.checkpoint')
})
