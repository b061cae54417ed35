/* What is linked to the Lambdas. `sst deploy` writes this file. */
/* tslint:disable */
/* eslint-disable */
/* deno-fmt-ignore-file */
/* biome-ignore-all lint: auto-generated */

declare module "sst" {
  export interface Resource {
    DatabaseUrl: {
      type: "sst.sst.Secret";
      value: string;
    };
  }
}

/// <reference path="sst-env.d.ts" />

import "sst";

export {};
