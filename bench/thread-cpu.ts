import { koffi } from '../model/runtime/ort/foreign-functions.ts'

/** `CLOCK_THREAD_CPUTIME_ID` */
const clocks: Readonly<Partial<Record<NodeJS.Platform, number>>> = { linux: 3, darwin: 16 }

const clock = clocks[process.platform]
const library = clock === undefined ? undefined : koffi.load(null)
const read = library?.func('clock_gettime', 'int', ['int', 'void *'])

/** Milliseconds of CPU time that the calling thread took so far; undefined where the system does not tell. */
export function threadCpuMs(): number | undefined {
  if (read === undefined) return undefined
  const time = new BigInt64Array(new ArrayBuffer(16))
  read(clock, time)
  const [seconds = 0n, nanoseconds = 0n] = time
  return Number(seconds) * 1000 + Number(nanoseconds) / 1e6
}
