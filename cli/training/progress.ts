import { SingleBar } from 'cli-progress'
import type { TrainEvent } from '../../training/train.ts'
import { note } from '../command/output.ts'

export interface TrainPrinter extends Disposable {
  readonly onEvent: (event: TrainEvent) => void
}

/** Shows a training on stderr: a moving bar on a terminal, plain lines elsewhere. */
export function trainPrinter(): TrainPrinter {
  return process.stderr.isTTY ? barPrinter(process.stderr) : linePrinter(note)
}

const barFormat = 'step {value}/{total} [{bar}] loss {loss} · dev {dev} · {speed} tok/s · {left} left'
/** Columns of a long line without its bar. */
const wordsWidth = 68

/** Cells of the bar that leave room for the words; a line too long for its terminal is cut off. */
export function barWidth(columns = 80): number {
  return Math.min(40, Math.max(4, columns - wordsWidth))
}

type Terminal = NodeJS.WritableStream & { readonly columns?: number }

/** Moves a bar on a terminal. */
export function barPrinter(stream: Terminal): TrainPrinter {
  let bar: SingleBar | undefined
  const shown = { loss: '–', dev: '–', speed: '–', left: '–' }
  return {
    onEvent(event) {
      if (event.type === 'checkpoint') return
      if (event.type === 'measuring untuned') {
        stream.write(`${measuringUntuned(event.examples)}\n`)
        return
      }
      const { step, steps, secondsLeft } = event.progress
      if (event.type === 'step') {
        shown.loss = event.loss.toFixed(3)
        shown.speed = event.tokensPerSecond.toFixed(0)
        shown.left = secondsLeft === undefined ? '–' : duration(secondsLeft)
      } else shown.dev = event.devLoss.toFixed(3)
      if (bar === undefined) {
        bar = new SingleBar({
          format: barFormat,
          hideCursor: true,
          barsize: barWidth(stream.columns),
          stream,
        })
        bar.start(steps, step, shown)
      }
      bar.update(step, shown)
    },
    [Symbol.dispose]() {
      bar?.stop()
    },
  }
}

/** A line for every measurement, and for a step when a twentieth of the way has passed since the last. */
export function linePrinter(say: (line: string) => void): TrainPrinter {
  let told = 0
  return {
    onEvent(event) {
      if (event.type === 'checkpoint') return
      if (event.type === 'measuring untuned') return say(measuringUntuned(event.examples))
      const { step, steps, secondsLeft } = event.progress
      if (event.type === 'untuned') return say(`dev loss ${event.devLoss.toFixed(4)} of the untuned backbone`)
      if (event.type === 'evaluation')
        return say(`step ${step}/${steps}: dev loss ${event.devLoss.toFixed(4)}`)
      if (step !== 1 && step !== steps && step - told < steps / 20) return
      told = step
      const left = secondsLeft === undefined ? '' : `, ${duration(secondsLeft)} left`
      say(
        `step ${step}/${steps}: loss ${event.loss.toFixed(4)}, ${event.tokensPerSecond.toFixed(0)} tok/s${left}`,
      )
    },
    [Symbol.dispose]() {},
  }
}

const measuringUntuned = (examples: number) =>
  `measuring the untuned backbone on ${examples} dev ${examples === 1 ? 'example' : 'examples'}, then training`

/** `1:05` or `2:03:04`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds)
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const [hours = 0, minutes = 0, rest = 0] = parts
  const two = (n: number) => String(n).padStart(2, '0')
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`
}
