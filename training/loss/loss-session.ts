import { encodeModel } from '../../model/graph/encode.ts'
import type { Graph } from '../../model/graph/graph.ts'
import { InferenceSession } from '../../model/runtime/session.ts'
import type { Tensors } from '../../model/runtime/tensors.ts'
import { sizes } from '../graph/batch.ts'

/** The graph that training runs. It lives in memory and gets all its weights as inputs. */
export class LossSession {
  readonly #session: InferenceSession

  private constructor(session: InferenceSession) {
    this.#session = session
  }

  static async open(graph: Graph, { threads }: { threads?: number | undefined } = {}): Promise<LossSession> {
    const model = encodeModel(graph, { weightsFile: '', opset: 18, sizes: Object.values(sizes) })
    // Batches differ in shape: a plan of memory per shape would be kept for each, beside what is allocated.
    return new LossSession(
      await InferenceSession.fromModel(model, { device: 'cpu', threads, memoryPattern: false }),
    )
  }

  /**
   * All outputs of the graph. Feeds may hold more than its inputs. Throws `node_error`, or the reason of `signal` where
   * that ends the run.
   */
  async run(feeds: Tensors, signal?: AbortSignal): Promise<Tensors> {
    const { inputs, outputs } = this.#session
    const own = Object.fromEntries(inputs.flatMap((name) => (feeds[name] ? [[name, feeds[name]]] : [])))
    return await this.#session.run(own, outputs, signal)
  }

  release(): Promise<void> {
    return this.#session.release()
  }
}
