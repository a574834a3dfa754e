import { CliFailure } from '../cli/command/failure.ts'
import { isDeviceLoss } from '../model/runtime/device-loss.ts'
import { QuartetError } from '../shared/errors.ts'
import type { Clock, Expected } from './gpu-clock.ts'
import { type GpuResults, ResultsFile } from './gpu-results.ts'
import { type FailedPart, type Figure, lineOf, type Row, report } from './report.ts'

/**
 * The results of a run on a device, part by part. A part that throws becomes a row that says why, and the next one begins. Each row is
 * printed and written to the file as soon as it is there.
 */
export class GpuRun {
  readonly clock: Clock
  readonly #rows: Row[] = []
  readonly #file: ResultsFile | undefined
  #environment: GpuResults['environment'] = {}
  #state: GpuResults['state'] = 'running'
  #title = 'gpu'
  #part: string | undefined
  #step: string | undefined
  /** Only a new process can use the device again. */
  #isDeviceLost = false

  /** Throws where `out` cannot be written. */
  constructor({ clock, out }: { clock: Clock; out?: string | undefined }) {
    this.clock = clock
    this.#file = out === undefined ? undefined : new ResultsFile(out, this.#results)
  }

  get figures(): readonly Figure[] {
    return this.#rows.filter((row) => 'value' in row)
  }

  describe(environment: GpuResults['environment'], title: string): void {
    this.#environment = environment
    this.#title = title
    for (const [key, value] of Object.entries(environment)) this.clock.say(`${key}: ${value}`)
    this.#save()
  }

  /** Gives the result of the work; undefined where it was left out or threw, and a row says so. */
  async part<T>(name: string, work: () => Promise<T>, expected?: Expected): Promise<T | undefined> {
    const obstacle = this.#isDeviceLost
      ? 'the device was lost in this process'
      : this.clock.obstacle(expected)
    if (obstacle !== undefined) {
      this.leaveOut(name, obstacle)
      return undefined
    }
    return await this.#doing(name, async () => {
      const start = this.clock.seconds
      const result = await work()
      if (expected !== undefined) this.clock.took(this.clock.seconds - start, expected)
      return result
    })
  }

  /** A part whose rows these are. */
  async measure(name: string, work: () => Promise<readonly Row[]>, expected?: Expected): Promise<void> {
    for (const row of (await this.part(name, work, expected)) ?? []) this.add(row)
  }

  /** A part that is done even where there is no time: it gives back what an earlier one took. */
  async giveBack(name: string, work: () => Promise<void>): Promise<void> {
    await this.#doing(name, work)
  }

  /** Says what the part does now. */
  step(text: string): void {
    this.#step = text
    this.clock.say(`  ${text}`)
    this.#save()
  }

  add(row: Row): void {
    this.#rows.push(row)
    this.clock.say(`  ${lineOf(row)}`)
    this.#save()
  }

  leaveOut(name: string, why: string): void {
    this.add({ name, leftOut: why })
  }

  /** Prints the table, and says whether every bound holds and no part failed. */
  end(): boolean {
    this.#state = 'complete'
    this.#save()
    return report(this.#title, this.#rows)
  }

  /** Ends the run within a part, from which nothing more comes. */
  cutOff(failure: Pick<FailedPart['failure'], 'code' | 'message'>): void {
    this.#state = 'cut off'
    this.#rows.push({
      name: this.#part ?? 'the run',
      failure: { ...failure, doing: this.#doingNow ?? 'between two parts' },
    })
    this.#save()
    report(this.#title, this.#rows)
  }

  async #doing<T>(name: string, work: () => Promise<T>): Promise<T | undefined> {
    this.#part = name
    this.clock.say(name)
    this.#save()
    try {
      return await work()
    } catch (error) {
      this.#isDeviceLost ||= isDeviceLoss(error)
      if (!(error instanceof CliFailure || error instanceof QuartetError)) console.error(error)
      this.add({ name, failure: { ...explained(error), doing: this.#doingNow ?? name } })
      return undefined
    } finally {
      this.#part = undefined
      this.#step = undefined
    }
  }

  get #doingNow(): string | undefined {
    return this.#step ?? this.#part
  }

  get #results(): GpuResults {
    return {
      state: this.#state,
      doing: this.#state === 'running' ? this.#doingNow : undefined,
      seconds: Math.round(this.clock.seconds),
      environment: this.#environment,
      figures: this.#rows,
    }
  }

  #save(): void {
    this.#file?.write(this.#results)
  }
}

/** The stable code of an error where it has one, and what it and its causes say. */
function explained(thrown: unknown): Pick<FailedPart['failure'], 'code' | 'message'> {
  const messages: string[] = []
  for (let at = thrown; at !== undefined; at = at instanceof Error ? at.cause : undefined) {
    const own =
      at instanceof CliFailure && at.remedy !== undefined ? `${at.message}; ${at.remedy}` : undefined
    messages.push(own ?? (at instanceof Error ? at.message : String(at)))
  }
  const code =
    thrown instanceof QuartetError ? thrown.code : thrown instanceof Error ? thrown.name : 'unknown'
  return { code, message: messages.join(' — ') }
}
