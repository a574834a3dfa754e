import { SingleBar } from 'cli-progress'
import type { OnProgress, ProgressEvent } from '../../model/import/progress.ts'
import { note } from './output.ts'

export interface ProgressPrinter extends Disposable {
  readonly onProgress: OnProgress
}

/** Shows a long job on stderr: a moving bar on a terminal, a line for every tenth elsewhere. */
export function progressPrinter(): ProgressPrinter {
  return process.stderr.isTTY ? barPrinter() : linePrinter()
}

type Progress = Extract<ProgressEvent, { type: 'progress' }>

function barPrinter(): ProgressPrinter {
  let shown: { task: string; bar: SingleBar } | undefined
  const finish = () => {
    shown?.bar.stop()
    shown = undefined
  }
  return {
    onProgress(event) {
      if (event.type === 'note') {
        finish()
        return note(event.text)
      }
      if (shown?.task !== event.task) {
        finish()
        const bar = new SingleBar({ format: '{task} [{bar}] {percentage}% {amount}', hideCursor: true })
        bar.start(event.total, event.done, { task: event.task, amount: amount(event) })
        shown = { task: event.task, bar }
      }
      shown.bar.update(event.done, { amount: amount(event) })
      if (event.done >= event.total) finish()
    },
    [Symbol.dispose]: finish,
  }
}

function linePrinter(): ProgressPrinter {
  let last = ''
  return {
    onProgress(event) {
      if (event.type === 'note') return note(event.text)
      const line = `${event.task}: ${Math.floor((event.done / event.total) * 10) * 10} %`
      if (line !== last) note(line)
      last = line
    },
    [Symbol.dispose]() {},
  }
}

function amount({ done, total, unit }: Progress): string {
  if (unit !== 'bytes') return `${done}/${total}`
  return `${megabytes(done)}/${megabytes(total)} MB`
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1)
}
