import { InferenceSession } from 'onnxruntime-node'
import { encodeModel } from '../../model/graph/encode.ts'
import type { Graph } from '../../model/graph/graph.ts'
import type { Tensors } from '../../model/runtime/tensors.ts'
import { QuartetError } from '../../shared/errors.ts'
import { sizes } from '../graph/batch.ts'

/** A graph that lives in memory and gets all its weights as inputs: what training runs. */
export class LossSession {
  readonly #session: InferenceSession

  private constructor(session: InferenceSession) {
    this.#session = session
  }

  static async open(graph: Graph, { threads }: { threads?: number | undefined } = {}): Promise<LossSession> {
    const model = encodeModel(graph, { weightsFile: '', opset: 18, sizes: Object.values(sizes) })
    return new LossSession(
      await InferenceSession.create(model, {
        executionProviders: ['cpu'],
        graphOptimizationLevel: 'all',
        // Batches differ in shape: a plan of memory per shape would be kept for each, beside what is allocated.
        enableMemPattern: false,
        extra: { session: { force_spinning_stop: '1' } },
        logSeverityLevel: 3,
        ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
      }),
    )
  }

  /** Feeds may hold more than the graph's inputs. Throws `node_error`. */
  async run(feeds: Tensors): Promise<Tensors> {
    const own = Object.fromEntries(
      this.#session.inputNames.flatMap((name) => (feeds[name] ? [[name, feeds[name]]] : [])),
    )
    try {
      return await this.#session.run(own)
    } catch (cause) {
      const message = cause instanceof Error ? cause.message.split('\n', 1)[0] : String(cause)
      throw new QuartetError('node_error', `the training graph failed to run: ${message}`, { cause })
    }
  }

  release(): Promise<void> {
    return this.#session.release()
  }
}
