import type { Backend, BackendLimits } from '../../model/runtime/backend.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { BackboneDigest, BackboneSlug } from '../../shared/ids.ts'
import type { AdapterStore } from '../adapters/store.ts'
import type { Engine } from '../engine/engine.ts'
import type { Grammars } from '../grammar/grammars.ts'

/** A backbone at work. */
export interface LoadedModel {
  readonly slug: BackboneSlug
  readonly digest: BackboneDigest
  readonly limits: BackendLimits
  readonly engine: Engine
  readonly adapters: AdapterStore
  readonly stack: Backend['stack']
  /** Absent where the tokenizer is not one that grammars go with. */
  readonly grammars: Grammars | undefined
}

/** The process's readiness for requests at this moment. */
export class Serving {
  #model: LoadedModel | undefined
  #draining = false

  get model(): LoadedModel | undefined {
    return this.#model
  }

  /** The model, also while the node drains. Throws `node_unavailable` before it is loaded. */
  loadedModel(): LoadedModel {
    if (this.#model === undefined)
      throw new QuartetError('node_unavailable', 'the node is still loading its backbone; retry')
    return this.#model
  }

  get draining(): boolean {
    return this.#draining
  }

  loaded(model: LoadedModel): void {
    this.#model = model
  }

  /** Refuses new work; resolves when the running work is over. */
  async drain(): Promise<void> {
    this.#draining = true
    await this.#model?.engine.drain()
  }

  /** The model, for new work. Throws `draining` or `node_unavailable`. */
  open(): LoadedModel {
    if (this.#draining)
      throw new QuartetError('draining', 'the node is shutting down; send the request to another one')
    return this.loadedModel()
  }

  /** Throws when a load balancer should send nothing here: as `open`, and when the backend keeps failing. */
  checkReady(): void {
    if (this.open().engine.failing)
      throw new QuartetError('node_unavailable', 'the node cannot run its model; see its log')
  }
}
