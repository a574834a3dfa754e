import type { Label } from './measure.ts'

/** How well one label is found. Shares are absent where there is nothing to divide by. */
interface LabelFigures {
  readonly label: string
  /** Examples whose label this is. */
  readonly examples: number
  /** Examples that got this label. */
  readonly chosen: number
  /** The share with this label among the examples that got it. */
  readonly precision?: number
  /** The share that got this label among the examples that have it. */
  readonly recall?: number
  readonly f1: number
}

export interface LabelReport {
  readonly labels: readonly LabelFigures[]
  /** `counts[i][j]`: examples of label i that got label j, in the order of `labels`. */
  readonly confusion: readonly (readonly number[])[]
  /** The mean of the labels' F1, over those that stand in the data or were chosen. */
  readonly macroF1: number
}

/** Figures per label and the confusion matrix, over all choices in their order. */
export function labelReport(labels: readonly Label[], choices: readonly string[]): LabelReport {
  const confusion = choices.map((expected) => {
    const own = labels.filter((label) => label.expected === expected)
    return choices.map((chosen) => own.filter((label) => label.chosen === chosen).length)
  })
  const figures = choices.map((label, at) => {
    const examples = sum(confusion[at] ?? [])
    const chosen = sum(confusion.map((row) => row[at] ?? 0))
    const right = confusion[at]?.[at] ?? 0
    return {
      label,
      examples,
      chosen,
      ...(chosen > 0 ? { precision: right / chosen } : {}),
      ...(examples > 0 ? { recall: right / examples } : {}),
      f1: examples + chosen === 0 ? 0 : (2 * right) / (examples + chosen),
    }
  })
  const met = figures.filter(({ chosen, examples }) => chosen + examples > 0)
  return {
    labels: figures,
    confusion,
    macroF1: met.length === 0 ? 0 : sum(met.map(({ f1 }) => f1)) / met.length,
  }
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
