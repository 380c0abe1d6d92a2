package main

import (
	"bytes"
	"image"
	"image/draw"
	"image/jpeg"
	"os"
	"path/filepath"
)

var sides = map[string]int{"large": 1600, "medium": 800, "small": 320, "thumb": 96}

// resizeAll decodes a photo once and writes its four variants, each made of the whole photo.
func resizeAll(photo []byte, home string) error {
	source, err := jpeg.Decode(bytes.NewReader(photo))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	pixels := image.NewRGBA(image.Rect(0, 0, source.Bounds().Dx(), source.Bounds().Dy()))
	draw.Draw(pixels, pixels.Bounds(), source, source.Bounds().Min, draw.Src)
	for name, side := range sides {
		if err := write(filepath.Join(home, name+".jpg"), averaged(pixels, side)); err != nil {
			return err
		}
	}
	return nil
}

func write(path string, variant image.Image) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return jpeg.Encode(file, variant, &jpeg.Options{Quality: 80})
}

// averaged fits an image into a square: each pixel is the mean of those it stands for, the cheapest resampling
// that does not alias.
func averaged(source *image.RGBA, side int) *image.RGBA {
	width, height := source.Rect.Dx(), source.Rect.Dy()
	w, h := width, height
	if longest := max(width, height); longest > side {
		w, h = max(1, width*side/longest), max(1, height*side/longest)
	}
	result := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := 0; y < h; y++ {
		top, bottom := y*height/h, (y+1)*height/h
		for x := 0; x < w; x++ {
			left, right := x*width/w, (x+1)*width/w
			var r, g, b uint32
			for row := top; row < bottom; row++ {
				line := source.Pix[row*source.Stride+4*left : row*source.Stride+4*right]
				for i := 0; i < len(line); i += 4 {
					r += uint32(line[i])
					g += uint32(line[i+1])
					b += uint32(line[i+2])
				}
			}
			count := uint32((bottom - top) * (right - left))
			target := result.Pix[y*result.Stride+4*x:]
			target[0], target[1], target[2], target[3] = uint8(r/count), uint8(g/count), uint8(b/count), 255
		}
	}
	return result
}

func max(a, b int) int {
	if a > b {
		return a
	}
	return b
}
