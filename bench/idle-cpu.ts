import { treeCpuSeconds } from './process-cpu.ts'
import type { Row } from './report.ts'

/** The CPU time of the side that waits while another is measured, which it would take from that one. */
export class IdleCpu {
  #used = 0
  #seconds = 0

  /** Does some work and counts what a process and its descendants use meanwhile. */
  async during<T>(idle: number, work: () => Promise<T>): Promise<T> {
    const [cpu, start] = [treeCpuSeconds(idle), performance.now()]
    const done = await work()
    this.#used += (treeCpuSeconds(idle) ?? Number.NaN) - (cpu ?? Number.NaN)
    this.#seconds += (performance.now() - start) / 1000
    return done
  }

  row(): Row {
    const name = 'CPU of the side that waits'
    if (Number.isNaN(this.#used)) return { name, leftOut: 'this system has no /proc' }
    return {
      name,
      value: this.#used / this.#seconds,
      unit: 'cores',
      bound: { kind: 'at most', value: 0.05 },
    }
  }
}
