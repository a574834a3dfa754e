import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { CliFailure, describeFailure } from '../cli/command/failure.ts'
import type { Row } from './report.ts'

/** All that a run has found so far. */
export interface GpuResults {
  /** `running` stays in the file where the process was killed: then `doing` is what it did. */
  readonly state: 'running' | 'complete' | 'cut off'
  readonly doing?: string | undefined
  readonly seconds: number
  readonly environment: Readonly<Record<string, string>>
  readonly figures: readonly Row[]
}

/** The file of a run's results, replaced after each of them: it is whole at any time, however the process ends. */
export class ResultsFile {
  readonly #path: string

  /** Throws where no such file can be written: before anything is measured. */
  constructor(path: string, first: GpuResults) {
    this.#path = path
    try {
      this.#replace(first)
    } catch (cause) {
      throw new CliFailure(`cannot write ${path}: ${describeFailure(cause)}`, {
        remedy: 'give --out a file in a folder that is there',
      })
    }
  }

  /** Says where it cannot: what was measured is still to be printed. */
  write(results: GpuResults): void {
    try {
      this.#replace(results)
    } catch (error) {
      console.error(`bench: cannot write ${this.#path}: ${describeFailure(error)}`)
    }
  }

  // Without waiting: a handler of a signal writes too, and the process ends behind it.
  #replace(results: GpuResults): void {
    const partial = `${this.#path}.${process.pid}.partial`
    try {
      const file = openSync(partial, 'w', 0o644)
      try {
        writeFileSync(file, `${JSON.stringify(results, withoutLoss, 2)}\n`)
        fsyncSync(file)
      } finally {
        closeSync(file)
      }
      renameSync(partial, this.#path)
    } catch (error) {
      rmSync(partial, { force: true })
      throw error
    }
  }
}

/** JSON would make null of NaN. */
const withoutLoss = (_key: string, value: unknown): unknown =>
  typeof value === 'number' && !Number.isFinite(value) ? String(value) : value
