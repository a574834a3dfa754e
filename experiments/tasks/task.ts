/** A prompt, as a user's message, and the answer to it. */
export interface Pair {
  readonly prompt: string
  readonly answer: string
}

/** The metrics of a task; the first is the one that tables compare. */
export type Score = 'labelAccuracy' | 'loss' | 'bleu' | 'exactMatch'

/** Everything of a task that runs need, in the order in which it is used. */
export interface TaskData {
  /** One epoch of these is the training. */
  readonly train: readonly Pair[]
  /** Training data behind those that train. They choose among variants. */
  readonly dev: readonly Pair[]
  /** Held out. */
  readonly test: {
    /** Their responses' likelihood is measured. */
    readonly likelihood: readonly Pair[]
    /** The likeliest of `choices` is measured. */
    readonly labels: readonly Pair[]
    /** Greedy answers are measured; pairs with the same prompt are references of one answer. */
    readonly answers: readonly Pair[]
  }
  readonly choices: readonly string[]
}

/** The number of dev examples of a task that has more training data than it trains on. */
export const devExamples = 200

export interface Task {
  readonly title: string
  /** The score that tables show. */
  readonly score: Score
  /** How prompts and examples are made, in a sentence. */
  readonly conditions: string
  /** The system message of each conversation. */
  readonly system?: string
  /** Files under the data folder, by what they are to the task. */
  readonly files: { readonly train: string; readonly test: string }
  readonly parse: (files: { readonly train: string; readonly test: string }) => TaskData
}
