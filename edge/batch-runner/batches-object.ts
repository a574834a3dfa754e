import { DurableObject } from 'cloudflare:workers'
import type { BatchId } from '../../shared/api/batches.ts'
import type { FileId, FileObject } from '../../shared/api/files.ts'
import { QuartetError } from '../../shared/errors.ts'
import { TenantId } from '../../shared/ids.ts'
import { BatchBook } from '../batches/batch-book.ts'
import type { BatchRecord, BatchSpec } from '../batches/batch-table.ts'
import type { Outcome } from '../directory/outcome.ts'
import type { Bindings, Platform } from '../platform.ts'
import { fileKey } from '../store/bucket-keys.ts'
import { durableSql } from '../store/durable-sql.ts'
import { readRequests } from './read-requests.ts'
import { firstAtOnce, maxResultBytes, runRound } from './run-requests.ts'

/** The alarm that goes off where a run died. */
const watchdogMs = 60_000
/** The wait after a round without room, and the longest wait after several. */
const firstWaitMs = 1_000
const longestWaitMs = 60_000
/** Results that are read at once for a file: the longest of them take 16 MB of the object's 128. */
const writtenAtOnce = Math.floor(16_000_000 / maxResultBytes)

/**
 * One tenant's batches, and the runs of their requests, one batch after the other. All that a run needs stands
 * in the object's storage, and an alarm is set while there is work, so that a run that died is continued.
 */
export abstract class BatchesObject extends DurableObject<Bindings> {
  readonly #book: BatchBook
  #atOnce = firstAtOnce
  #waitMs = firstWaitMs
  #step: Promise<unknown> = Promise.resolve()
  #running: { readonly batch: BatchId; readonly stop: AbortController } | undefined

  protected abstract get platform(): Platform

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env)
    this.#book = new BatchBook(durableSql(ctx.storage))
    ctx.storage.sql.exec(
      'CREATE TABLE IF NOT EXISTS owner (one INTEGER PRIMARY KEY CHECK (one = 1), tenant TEXT NOT NULL, created_at INTEGER) STRICT',
    )
    // A run that died with an earlier worker continues now, not when its watchdog alarm goes off.
    ctx.blockConcurrencyWhile(async () => {
      if ((await ctx.storage.getAlarm()) !== null) await ctx.storage.setAlarm(Date.now())
    })
  }

  async create(
    id: BatchId,
    {
      createdAt,
      spec,
      tenant,
    }: { readonly tenant: TenantId; readonly createdAt: number | undefined; readonly spec: BatchSpec },
  ): Promise<Outcome<BatchRecord>> {
    this.ctx.storage.sql.exec('INSERT OR IGNORE INTO owner VALUES (1, ?, ?)', tenant, createdAt ?? null)
    const created = this.#book.create(id, spec)
    if (created.ok) await this.ctx.storage.setAlarm(Date.now())
    return created
  }

  async find(id: BatchId): Promise<BatchRecord | undefined> {
    return this.#book.batches.find(id)
  }

  async list(page: { readonly after: BatchId | undefined; readonly limit: number }): Promise<BatchRecord[]> {
    return this.#book.batches.list(page)
  }

  async cancel(id: BatchId): Promise<Outcome<BatchRecord>> {
    const cancelled = this.#book.cancel(id)
    if (!cancelled.ok) return cancelled
    if (this.#running?.batch === id) this.#running.stop.abort()
    await this.ctx.storage.setAlarm(Date.now())
    return cancelled
  }

  /** The batch that has not ended and reads the file. */
  async readerOf(file: FileId): Promise<BatchId | undefined> {
    return this.#book.readerOf(file)
  }

  override async alarm(): Promise<void> {
    await this.ctx.storage.setAlarm(Date.now() + watchdogMs)
    // An alarm that is started by hand may come beside the object's own.
    const step = this.#step.then(() => this.#goOn())
    this.#step = step.catch(() => undefined)
    const waitMs = await step.catch((thrown: unknown) => {
      console.error(
        JSON.stringify({ message: 'a batch could not be gone on with yet', cause: String(thrown) }),
      )
      return this.#longerWait()
    })
    if (waitMs === undefined) await this.ctx.storage.deleteAlarm()
    else await this.ctx.storage.setAlarm(Date.now() + waitMs)
  }

  /** One step of the oldest batch. Returns when to take the next; undefined when nothing is left to do. */
  async #goOn(): Promise<number | undefined> {
    const batch = this.#book.next()
    if (batch === undefined) return undefined
    const { platform } = this
    const tenant = await platform.directory(this.#tenant).record()
    // A deleted tenant has no requests left to answer. Another tenant may have its name by now.
    if (tenant === undefined || (tenant.createdAt ?? null) !== this.#createdAt) return undefined
    switch (batch.status) {
      case 'validating':
        return this.#validate(batch, platform)
      case 'in_progress': {
        if (this.#book.pending(batch.id, 1).length === 0) {
          this.#book.finalize(batch.id)
          return 0
        }
        if (tenant.status === 'suspended') return longestWaitMs
        const stop = new AbortController()
        this.#running = { batch: batch.id, stop }
        try {
          const { atOnce, isFull } = await runRound({
            book: this.#book,
            batch,
            asking: {
              tenant,
              bindings: this.env,
              platform,
              execution: {
                waitUntil: (work) => this.ctx.waitUntil(work),
                passThroughOnException: () => undefined,
                props: {},
              },
              signal: stop.signal,
            },
            read: ({ at, bytes }) => this.#readLine(batch, { at, bytes }, platform),
            atOnce: this.#atOnce,
          })
          this.#atOnce = atOnce
          if (isFull) return this.#longerWait()
          this.#waitMs = firstWaitMs
          return 0
        } finally {
          this.#running = undefined
        }
      }
      default:
        await this.#writeFiles(this.#book.finalize(batch.id), platform)
        this.#book.end(batch.id)
        return 0
    }
  }

  #longerWait(): number {
    const waitMs = this.#waitMs
    this.#waitMs = Math.min(longestWaitMs, 2 * waitMs)
    return waitMs
  }

  async #validate(batch: BatchRecord, platform: Platform): Promise<number> {
    const body = await platform.files.read(fileKey(this.#tenant, batch.inputFile))
    const gone = {
      code: 'invalid_input_file',
      message: 'the input file is gone; upload it again',
      param: 'input_file_id',
      line: null,
    }
    const errors = body === undefined ? [gone] : await readRequests(batch, { body, book: this.#book })
    this.#book.validated(batch.id, errors)
    return 0
  }

  async #readLine(
    batch: BatchRecord,
    { at, bytes }: { readonly at: number; readonly bytes: number },
    { files }: Platform,
  ): Promise<Uint8Array> {
    const key = fileKey(this.#tenant, batch.inputFile)
    const found = await files.readRange(key, { offset: at, length: bytes })
    if (found === undefined) throw new QuartetError('not_found', 'the input file is gone; upload it again')
    return found
  }

  /** Writes what the batch has; a run that died is repeated whole, under the same ids. */
  async #writeFiles({ errorFile, id, outputFile }: BatchRecord, platform: Platform): Promise<void> {
    const parts = [
      { file: outputFile, isError: false, filename: `${id}_output.jsonl` },
      { file: errorFile, isError: true, filename: `${id}_error.jsonl` },
    ]
    for (const { file, filename, isError } of parts)
      if (file !== null) await this.#writeFile(file, { batch: id, filename, isError, platform })
  }

  async #writeFile(
    file: FileId,
    {
      batch,
      filename,
      isError,
      platform,
    }: {
      readonly batch: BatchId
      readonly filename: string
      readonly isError: boolean
      readonly platform: Platform
    },
  ): Promise<void> {
    const key = fileKey(this.#tenant, file)
    const writer = platform.files.writer(key)
    const encoder = new TextEncoder()
    let bytes = 0
    let lines = 0
    try {
      for (let after = ''; ; ) {
        const results = this.#book.results(batch, { isError, after, limit: writtenAtOnce })
        for (const { customId, text } of results) {
          const line = encoder.encode(`${text}\n`)
          bytes += line.length
          lines += 1
          after = customId
          await writer.push(line)
        }
        if (results.length === 0) break
      }
      await writer.end()
    } catch (thrown) {
      await writer.abandon()
      throw thrown
    }
    const written: FileObject = {
      id: file,
      object: 'file',
      bytes,
      created_at: Math.floor(Date.now() / 1_000),
      filename,
      purpose: 'batch_output',
      status: 'processed',
      lines,
    }
    const completed = await platform.training(this.#tenant).completeFile(written, this.#createdAt)
    // The tenant was deleted while the file was written.
    if (!completed.ok) await platform.files.delete([key])
  }

  /** When the tenant was created; null where that is not known. */
  get #createdAt(): number | null {
    return this.ctx.storage.sql.exec<{ created_at: number | null }>('SELECT created_at FROM owner').one()
      .created_at
  }

  get #tenant(): TenantId {
    return TenantId.parse(
      this.ctx.storage.sql.exec<{ tenant: string }>('SELECT tenant FROM owner').one().tenant,
    )
  }
}
