import { graphFiles } from '../graph/export.ts'
import { InferenceSession } from './session.ts'
import { floats, int32, int64 } from './tensors.ts'

/** The graph that reads a text and gives the inputs of each layer, token by token. */
export class Trace {
  readonly #session: InferenceSession

  private constructor(session: InferenceSession) {
    this.#session = session
  }

  /** `change`: what becomes of the graph before it is loaded. Throws `backbone_invalid`. */
  static async open(folder: string, change?: (model: Uint8Array) => Uint8Array): Promise<Trace> {
    const graph = { folder, graph: graphFiles.trace, change }
    return new Trace(await InferenceSession.open(graph, { device: 'cpu' }))
  }

  /** Hidden states entering each layer for a sequence of these tokens: [layers, tokens, d]. */
  async hiddenStates(tokens: readonly number[]): Promise<Float32Array> {
    const { hidden } = await this.#session.run(
      {
        tokens: int64(tokens, [1, tokens.length]),
        last_row: int32([tokens.length - 1]),
        total_rows: int32([tokens.length], []),
      },
      ['hidden'],
    )
    return floats(hidden)
  }

  release(): Promise<void> {
    return this.#session.release()
  }
}
