// RUN: ds-opt --ds-quantize-weights='scheme=stored' %s | FileCheck %s

/// Rows of whole K blocks keep the blocks' scales, which are integers; others are rounded with scales of f32. Blocks with a scale each stay
/// what they are.
// CHECK: ds.parameter @whole from {{.*}} : tensor<32x512x!ds.quantized<4 asymmetric group 32 scale ui6>>
ds.parameter @whole from "whole" {ds.stored = "Q4_K"} : tensor<32x512xf32>
// CHECK: ds.parameter @rows from {{.*}} : tensor<16x512x!ds.quantized<5 asymmetric group 32 scale ui6>>
ds.parameter @rows from "rows" view <512, [16, 512], [1024, 1]> {ds.stored = "Q5_K"} : tensor<16x512xf32>
// CHECK: ds.parameter @six from {{.*}} : tensor<32x512x!ds.quantized<6 symmetric group 16 scale si8>>
ds.parameter @six from "six" {ds.stored = "Q6_K"} : tensor<32x512xf32>
// CHECK: ds.parameter @two from {{.*}} : tensor<32x512x!ds.quantized<2 asymmetric group 16 scale ui6>>
ds.parameter @two from "two" {ds.stored = "Q2_K"} : tensor<32x512xf32>
// CHECK: ds.parameter @three from {{.*}} : tensor<32x512x!ds.quantized<3 symmetric group 16 scale si8>>
ds.parameter @three from "three" {ds.stored = "Q3_K"} : tensor<32x512xf32>
// CHECK: ds.parameter @uneven from {{.*}} : tensor<32x512x!ds.quantized<8 symmetric group 32 scale si8>>
ds.parameter @uneven from "uneven" {ds.stored = "IQ4_XS"} : tensor<32x512xf32>
// CHECK: ds.parameter @negative_cut from {{.*}} : tensor<32x512x!ds.quantized<4 asymmetric group 32 scale f32>>
ds.parameter @negative_cut from "cut" view <128, [32, 512], [768, 1]> {ds.stored = "Q4_K"} : tensor<32x512xf32>
// CHECK: ds.parameter @negative_turned from {{.*}} : tensor<32x512x!ds.quantized<6 symmetric group 16 scale f32>>
ds.parameter @negative_turned from "turned" view <0, [32, 512], [1, 32]> {ds.stored = "Q6_K"} : tensor<32x512xf32>
// CHECK: ds.parameter @negative_whole from {{.*}} : tensor<32x512x!ds.quantized<4 symmetric group 32 scale f16>>
ds.parameter @negative_whole from "four" {ds.stored = "Q4_0"} : tensor<32x512xf32>

func.func @readers(%x: tensor<?x512xf32>) {
  %whole = ds.weight @whole : tensor<32x512xf32>
  %a = ds.linear %x, %whole : tensor<?x512xf32>, tensor<32x512xf32>
  %rows = ds.weight @rows : tensor<16x512xf32>
  %b = ds.linear %x, %rows : tensor<?x512xf32>, tensor<16x512xf32>
  %six = ds.weight @six : tensor<32x512xf32>
  %c = ds.linear %x, %six : tensor<?x512xf32>, tensor<32x512xf32>
  %cut = ds.weight @negative_cut : tensor<32x512xf32>
  %d = ds.linear %x, %cut : tensor<?x512xf32>, tensor<32x512xf32>
  %turned = ds.weight @negative_turned : tensor<32x512xf32>
  %e = ds.linear %x, %turned : tensor<?x512xf32>, tensor<32x512xf32>
  %four = ds.weight @negative_whole : tensor<32x512xf32>
  %f = ds.linear %x, %four : tensor<?x512xf32>, tensor<32x512xf32>
  %two = ds.weight @two : tensor<32x512xf32>
  %g = ds.linear %x, %two : tensor<?x512xf32>, tensor<32x512xf32>
  %three = ds.weight @three : tensor<32x512xf32>
  %h = ds.linear %x, %three : tensor<?x512xf32>, tensor<32x512xf32>
  %uneven = ds.weight @uneven : tensor<32x512xf32>
  %i = ds.linear %x, %uneven : tensor<?x512xf32>, tensor<32x512xf32>
  return
}
