import type { FilePurpose } from '../../shared/api/files.ts'
import { QuartetError } from '../../shared/errors.ts'
import { type ExampleLine, LineCheck } from './line-check.ts'

interface PurposeCheck {
  readonly purpose: FilePurpose
  readonly check: LineCheck
  /** The first line at fault for this purpose. */
  fault: QuartetError | undefined
}

/**
 * Checks a file for each purpose that it may have: a form may name the purpose behind its file. With one purpose the first
 * line at fault is thrown at once; with several each keeps its own until `linesFor` asks for it.
 */
export class LineChecks {
  readonly #checks: readonly PurposeCheck[]

  constructor(purposes: readonly FilePurpose[], examples: (line: ExampleLine) => void) {
    this.#checks = purposes.map((purpose) => ({
      purpose,
      check: new LineCheck(purpose, examples),
      fault: undefined,
    }))
  }

  /** The file is right for no purpose. */
  get isWrong(): boolean {
    return this.#checks.every(({ fault }) => fault !== undefined)
  }

  push(chunk: Uint8Array): void {
    this.#each((check) => check.push(chunk))
  }

  end(): void {
    this.#each((check) => check.end())
  }

  /** The lines that hold something. Throws `training_data_invalid` for a file that is wrong for this purpose. */
  linesFor(purpose: FilePurpose): number {
    const found = this.#checks.find((each) => each.purpose === purpose)
    if (found === undefined) throw new Error(`the file was not checked for ${purpose}`)
    if (found.fault !== undefined) throw found.fault
    return found.check.count
  }

  #each(step: (check: LineCheck) => void): void {
    for (const each of this.#checks) {
      if (each.fault !== undefined) continue
      try {
        step(each.check)
      } catch (thrown) {
        if (this.#checks.length === 1 || !(thrown instanceof QuartetError)) throw thrown
        each.fault = thrown
      }
    }
  }
}
