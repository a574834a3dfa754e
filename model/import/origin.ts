import type { OnProgress } from './progress.ts'

/** A file and the hash it must have. */
export interface PinnedFile {
  readonly name: string
  readonly bytes: number
  readonly sha256: string
}

export interface ObtainOptions {
  /** Where the backbone's source files are kept. */
  readonly folder: string
  readonly onProgress?: OnProgress | undefined
  readonly signal?: AbortSignal | undefined
}

/** A place that a model's files come from. Both ways give the path that `openSource` takes. */
export interface Origin {
  /** The name in “not from {name}: …”. */
  readonly name: string
  /** Of the model, as its card states it. */
  readonly licence: string
  /** What `obtain` downloads. */
  readonly bytes: number
  /** The files that an earlier `obtain` left in the folder, with every hash checked; undefined when they are not whole. */
  kept(folder: string): Promise<string | undefined>
  /** Fetches the files; throws when that fails, and goes on from there the next time where it can. */
  obtain(options: ObtainOptions): Promise<string>
}
