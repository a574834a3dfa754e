/** The q-quantile (0..1) of a list, nearest rank. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const at = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]
  if (at === undefined) throw new RangeError('a quantile needs at least one value')
  return at
}

export const median = (values: readonly number[]): number => quantile(values, 0.5)

/** Milliseconds that a piece of work takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/** Milliseconds of CPU time that a piece of work takes in this process: the time of other processes does not count. */
export async function cpuTimed(work: () => Promise<unknown>): Promise<number> {
  const start = process.cpuUsage()
  await work()
  const { system, user } = process.cpuUsage(start)
  return (system + user) / 1000
}

interface Sides {
  readonly a: () => Promise<number>
  readonly b: () => Promise<number>
}

export interface MeasuredRatio {
  /** Median of each side. */
  readonly a: number
  readonly b: number
  /** Median over rounds of a/b, both from the same round: drift of the machine cancels. */
  readonly ratio: number
  /** a/b of each round. */
  readonly ratios: readonly number[]
}

/** Measures two sides in turn, A B B A A B …, so that neither always runs on the warmer or busier machine. */
async function inTurn(rounds: number, sides: Sides): Promise<readonly { a: number; b: number }[]> {
  const pairs: { a: number; b: number }[] = []
  await sides.a()
  await sides.b()
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) {
      const a = await sides.a()
      pairs.push({ a, b: await sides.b() })
    } else {
      const b = await sides.b()
      pairs.push({ a: await sides.a(), b })
    }
  }
  return pairs
}

export async function compare(rounds: number, sides: Sides): Promise<MeasuredRatio> {
  const pairs = await inTurn(rounds, sides)
  const ratios = pairs.map((pair) => pair.a / pair.b)
  return {
    a: median(pairs.map((pair) => pair.a)),
    b: median(pairs.map((pair) => pair.b)),
    ratio: median(ratios),
    ratios,
  }
}

/**
 * The lower quartile of a over that of b. Other work on a machine only ever adds time, so on a busy one the quicker runs
 * tell more than the median.
 */
export async function lowerQuartileRatio(rounds: number, sides: Sides): Promise<number> {
  const pairs = await inTurn(rounds, sides)
  const lower = (side: 'a' | 'b') =>
    quantile(
      pairs.map((pair) => pair[side]),
      0.25,
    )
  return lower('a') / lower('b')
}
