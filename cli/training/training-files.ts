import { appendFileSync, statSync, truncateSync } from 'node:fs'
import { readdir, readFile, rm, stat, statfs } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { isRunning } from '../../model/import/process-identity.ts'
import { withLock } from '../../model/import/process-lock.ts'
import type { TrainRecord } from '../../training/record.ts'
import type { CheckpointStore } from '../../training/train-adapter.ts'
import { CliFailure, isSystemError } from '../command/failure.ts'
import { note } from '../command/output.ts'
import { assertWritable } from '../command/output-file.ts'
import { writeFileAtomically } from '../local/atomic-file.ts'
import type { TrainCommandOptions } from './options.ts'
import { initFile } from './start.ts'

const extension = '.safetensors'
const mode = 0o644

/** The files that a training leaves beside its adapter. */
export interface TrainingFiles {
  readonly adapter: string
  readonly checkpoint: string
  readonly metrics: string
  readonly curve: string
  /** Names the process that trains. */
  readonly lock: string
}

export function trainingFiles(out: string): TrainingFiles {
  const adapter = resolve(out)
  const base = adapter.endsWith(extension) ? adapter.slice(0, -extension.length) : adapter
  return {
    adapter,
    checkpoint: `${base}.checkpoint`,
    metrics: `${base}.metrics.jsonl`,
    curve: `${base}.loss.svg`,
    lock: `${base}.lock`,
  }
}

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  )

/** Throws when what is read would be written over. */
export function refuseOverwriting(
  { lock, ...written }: TrainingFiles,
  { data, dev, init, initTextFile }: Pick<TrainCommandOptions, 'data' | 'dev' | 'init' | 'initTextFile'>,
): void {
  const paths: readonly string[] = [lock, ...Object.values(written)]
  for (const read of [data, dev, initFile(init), initTextFile])
    if (read !== undefined && paths.includes(resolve(read)))
      throw new CliFailure(`${read} is read, and this training would write over it`, {
        remedy: 'choose another --out',
      })
}

/** Throws where a training could not write its files, or would write over what it reads. */
export async function assertFilesUsable(
  files: TrainingFiles,
  read: Parameters<typeof refuseOverwriting>[1],
): Promise<void> {
  refuseOverwriting(files, read)
  await assertWritable({ option: '--out', path: files.adapter })
}

/** Runs a training while no other one writes to these files. */
export async function withTrainingFiles<T>(files: TrainingFiles, work: () => Promise<T>): Promise<T> {
  const folder = dirname(files.adapter)
  await assertWritable({ option: '--out', path: files.adapter })
  const onWait = () => {
    throw new CliFailure(`another training writes to ${files.adapter}`, {
      remedy: 'wait for it, or choose another --out',
    })
  }
  return await withLock(files.lock, { onWait }, work).catch((error: unknown): never => {
    throw writeFailure(error, { path: folder, remedy: `${startAgain}, or choose another --out` })
  })
}

/**
 * Makes sure before any work that nothing is lost. Returns the checkpoint to go on
 * from, with `resume`.
 */
export async function prepareFiles(
  files: TrainingFiles,
  { resume, force }: { resume: boolean; force: boolean },
): Promise<Uint8Array | undefined> {
  await removePartial(files)
  const [isFinished, isUnfinished] = [await exists(files.adapter), await exists(files.checkpoint)]
  if (resume) {
    if (isUnfinished) return await readFile(files.checkpoint)
    throw new CliFailure(
      isFinished
        ? `${files.adapter} is finished; there is nothing to go on with`
        : `there is no checkpoint ${files.checkpoint} to go on from`,
      { remedy: 'train without --resume' },
    )
  }
  if (force) return undefined
  if (isUnfinished)
    throw new CliFailure(`${files.checkpoint} is an unfinished training`, {
      remedy: 'go on with --resume, or start anew with --force',
    })
  if (isFinished)
    throw new CliFailure(`${files.adapter} is there already`, {
      remedy: 'choose another --out, or replace it with --force',
    })
  return undefined
}

/** Throws when the disk has no room for a checkpoint beside the one before it and the adapter. */
export async function assertRoom({ adapter }: TrainingFiles, bytes: number): Promise<void> {
  const folder = dirname(adapter)
  const { bavail, bsize } = await statfs(folder)
  const megabytes = (n: number) => Math.ceil(n / 1e6)
  if (bavail * bsize < bytes)
    throw new CliFailure(
      `the disk of ${folder} has ${megabytes(bavail * bsize)} MB left, and this training’s checkpoints and adapter need ${megabytes(bytes)} MB`,
      { remedy: 'free some space, or write to another disk with --out' },
    )
}

const noRoom: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'files may not grow so large here (ulimit -f)',
}

/** Explains a failed write. For a lack of room it names the file and the remedy; any other error stays as it is. */
function writeFailure(error: unknown, { path, remedy }: { path: string; remedy: string }): unknown {
  const problem = isSystemError(error) ? noRoom[error.code] : undefined
  return problem === undefined
    ? error
    : new CliFailure(`${problem}: ${path} could not be written`, { remedy })
}

const goOn = 'the last checkpoint is whole: free some space and go on with --resume'
const startAgain = 'free some space and start again'

type Write = typeof writeFileAtomically

/** Keeps the newest checkpoint in a file: replaced as a whole or not at all. */
export function checkpointFile(
  { checkpoint }: Pick<TrainingFiles, 'checkpoint'>,
  { resumed, write = writeFileAtomically }: { resumed: Uint8Array | undefined; write?: Write },
): CheckpointStore {
  let isThere = resumed !== undefined
  return {
    resumed,
    async save(data) {
      try {
        await write(checkpoint, { data, mode })
        isThere = true
      } catch (error) {
        throw writeFailure(error, { path: checkpoint, remedy: isThere ? goOn : startAgain })
      }
    },
  }
}

/** Writes what a finished training leaves, the adapter last; then its checkpoint is of no more use. */
export async function writeResult(
  files: TrainingFiles,
  { adapter, curve }: { adapter: Uint8Array; curve: string },
): Promise<void> {
  try {
    await writeFileAtomically(files.curve, { data: curve, mode })
    await writeFileAtomically(files.adapter, { data: adapter, mode })
  } catch (error) {
    throw writeFailure(error, { path: files.adapter, remedy: goOn })
  }
  await rm(files.checkpoint, { force: true })
}

/** A file with one record per line, begun anew with those of a training that is taken up again. */
export interface MetricsFile {
  begin(records: readonly TrainRecord[]): Promise<void>
  /** A line that finds no room ends no training: it and those after it are left out until `complete`. */
  append(record: TrainRecord): void
  /** Writes all anew where lines were left out. */
  complete(records: readonly TrainRecord[]): Promise<void>
}

/** Writes the loss curve of a training that ends without an adapter. */
export async function writeCurve({ curve }: Pick<TrainingFiles, 'curve'>, drawing: string): Promise<void> {
  await writeFileAtomically(curve, { data: drawing, mode })
}

type AppendLine = (path: string, line: string) => void

export function metricsFile(
  { metrics }: Pick<TrainingFiles, 'metrics'>,
  {
    appendLine = appendFileSync,
    warn = note,
  }: { appendLine?: AppendLine; warn?: (text: string) => void } = {},
): MetricsFile {
  const line = (record: TrainRecord) => `${JSON.stringify(record)}\n`
  let isWhole = true
  const begin = (records: readonly TrainRecord[]) =>
    writeFileAtomically(metrics, { data: records.map(line).join(''), mode })
  const unlessNoRoom = (error: unknown) => {
    if (!isSystemError(error) || noRoom[error.code] === undefined) throw error
    return `${noRoom[error.code]}: ${metrics} lacks the last records`
  }
  return {
    begin,
    append(record) {
      if (!isWhole) return
      const { size } = statSync(metrics)
      try {
        appendLine(metrics, line(record))
      } catch (error) {
        warn(`${unlessNoRoom(error)}; the training goes on`)
        isWhole = false
        // Part of the line may have found room.
        truncateSync(metrics, size)
      }
    },
    async complete(records) {
      if (isWhole) return
      await begin(records).then(
        () => {
          isWhole = true
        },
        (error: unknown) => warn(unlessNoRoom(error)),
      )
    },
  }
}

/** The files that killed processes were writing. */
async function removePartial({ adapter, checkpoint, curve, metrics }: TrainingFiles): Promise<void> {
  const names = new Set([adapter, checkpoint, curve, metrics].map((path) => basename(path)))
  const folder = dirname(adapter)
  for (const entry of await readdir(folder)) {
    const match = /^(.+)\.([0-9]+)\.partial$/.exec(entry)
    const [, of = '', pid] = match ?? []
    if (names.has(of) && !isRunning(Number(pid))) await rm(join(folder, entry), { force: true })
  }
}
