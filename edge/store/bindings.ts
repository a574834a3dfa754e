/** The bindings of wrangler.toml that this folder knows: nothing else in the worker calls KV or R2 itself. */
export interface StoreBindings {
  /** Records, tokenizers and adapters. */
  readonly STORE: KVNamespace
  /** Tenants' files and the checkpoints of their jobs. */
  readonly FILES: R2Bucket
}
