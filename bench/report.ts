/** One line of a benchmark's table: the figure, and the bound it is held to. */
export interface Figure {
  readonly name: string
  readonly value: number
  readonly unit: string
  /** `at most` or `at least` this; absent for figures that only inform. */
  readonly bound?: { readonly kind: 'at most' | 'at least'; readonly value: number }
}

function holds({ value, bound }: Figure): boolean {
  if (bound === undefined) return true
  return bound.kind === 'at most' ? value <= bound.value : value >= bound.value
}

/** Prints the table and says whether every bound holds. */
export function report(title: string, figures: readonly Figure[]): boolean {
  console.log(`\n${title}`)
  console.table(
    figures.map((figure) => ({
      figure: figure.name,
      value: Number(figure.value.toPrecision(4)),
      unit: figure.unit,
      bound: figure.bound ? `${figure.bound.kind} ${figure.bound.value}` : '',
      holds: figure.bound ? (holds(figure) ? 'yes' : 'NO') : '',
    })),
  )
  return figures.every(holds)
}
