import { logNormaliser } from '../../model/runtime/logits.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Read } from './read-prompts.ts'

/** A choice: its place among all, and its tokens. */
interface Choice {
  readonly index: number
  readonly tokens: readonly number[]
}

/** A beginning that some of the choices share. */
interface Branch {
  /** Tokens of the beginning. */
  readonly length: number
  /** The choices that begin so. */
  readonly choices: readonly Choice[]
  /** log p of the beginning: an upper bound of each of its choices. */
  readonly logLikelihood: number
}

/**
 * The index of the choice with the highest likelihood as a whole response behind a prompt, whose cache all choices
 * share. `choices` are responses in tokens with the token that ends them, so that none begins another; `next` are the
 * logits after the prompt.
 *
 * Best-first search over the choices' common beginnings: a beginning less likely than a finished choice is never read
 * on, so that of 77 labels a few are run, and the result is still exact. A beginning is read on to the end of one of its
 * choices, as a run of a few tokens takes about as long as a run of one: it reads all weights.
 */
export function* likeliestChoice(
  next: Float32Array,
  choices: readonly (readonly number[])[],
): Generator<Read, number, void> {
  const all = choices.map((tokens, index) => ({ index, tokens }))
  let branches = split({ length: 0, choices: all, logLikelihood: 0 }, next)
  for (;;) {
    const best = branches.reduce((a, b) => (b.logLikelihood > a.logLikelihood ? b : a))
    const [only] = best.choices
    if (only !== undefined && best.length === only.tokens.length) return only.index
    branches = [...branches.filter((branch) => branch !== best), ...(yield* readOn(best))]
  }
}

/** Reads one of a branch's choices to its end: that choice, and the branches that leave its way. */
function* readOn(branch: Branch): Generator<Read, readonly Branch[], void> {
  const tokens = widestWay(branch)
  const left: Branch[] = []
  let way = branch
  yield {
    type: 'score',
    tokens: tokens.slice(0, -1),
    onLogits: (logits, at) => {
      if (at + 1 < branch.length) return
      for (const part of split(way, logits)) {
        if (part.choices[0]?.tokens[at + 1] === tokens[at + 1]) way = part
        else left.push(part)
      }
    },
  }
  return [...left, way]
}

/** The tokens of the choice that goes with most others at each token, so that a run serves many of them. */
function widestWay({ choices, length }: Branch): readonly number[] {
  let [same, at] = [choices, length]
  for (; same.length > 1 && at < (same[0]?.tokens.length ?? 0); at++)
    same = [...byTokenAt(same, at).values()].reduce((a, b) => (b.length > a.length ? b : a))
  return same[0]?.tokens ?? []
}

/** A branch's choices by their next token. `logits`: those after the branch's last one. */
function split({ choices, length, logLikelihood }: Branch, logits: Float32Array): readonly Branch[] {
  const normaliser = logNormaliser(logits)
  return [...byTokenAt(choices, length)].map(([token, sharing]) => ({
    length: length + 1,
    choices: sharing,
    logLikelihood: numeric(logLikelihood + (logits[token ?? -1] ?? Number.NaN) - normaliser),
  }))
}

const byTokenAt = (choices: readonly Choice[], at: number) => Map.groupBy(choices, ({ tokens }) => tokens[at])

function numeric(logLikelihood: number): number {
  if (Number.isNaN(logLikelihood))
    throw new QuartetError(
      'node_error',
      'the model gave a response no likelihood: its logits are not numbers',
    )
  return logLikelihood
}
