import type { Result } from './result.ts'

/** A run that has yet to be made. */
export interface MissingRun {
  readonly task: string
  readonly backbone: string
  readonly steps: number
}

/**
 * About how many seconds a run takes, from finished runs: those of its task on its backbone; else those of its backbone;
 * else, four times the others', as the larger backbone has four times the parameters. Undefined where nothing is finished.
 */
export function secondsOf(
  { backbone, steps, task }: MissingRun,
  results: readonly Result[],
): number | undefined {
  const trained = results.filter((result) => result.steps > 0)
  const ofBackbone = trained.filter((result) => result.backbone.slug === backbone)
  const ofTask = ofBackbone.filter((result) => result.task === task)
  const like = [ofTask, ofBackbone].find(({ length }) => length > 0)
  const known = like ?? trained
  const perStep = median(known.map((result) => result.trainSeconds / result.steps))
  const evaluating = median(known.map(({ evaluateSeconds }) => evaluateSeconds))
  if (perStep === undefined || evaluating === undefined) return undefined
  return (like === undefined ? 4 : 1) * (perStep * steps + evaluating)
}

function median(values: readonly number[]): number | undefined {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
}

/** `2 h 5 min`, `3 min`. */
export function inWords(seconds: number): string {
  const minutes = Math.max(1, Math.round(seconds / 60))
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
